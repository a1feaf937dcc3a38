"""Pictures with captions, as files and a table of them. Knows no trainer.

Each picture is one of the gallery's, at a random place and size; its caption begins with its name and goes on
with words of other names, to as many words as web captions have: 10.3 on average with a deviation of 4.5 in
Conceptual Captions (Sharma et al. 2018). No two captions of a batch are alike.
"""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.serving.places import REPOSITORY
from benchmarks.training.task import BATCH_SIZE, IMAGE_SIZE

GALLERY = REPOSITORY / "server" / "gallery"
MEAN_WORDS, WORDS_STD, MIN_WORDS, MAX_WORDS = 10.3, 4.5, 2, 40
COLUMNS = ("filepath", "title")


def write_pairs(folder: Path, n_steps: int) -> Path:
    """Write the pairs of so many batches, in order, and return their table."""
    rng = np.random.default_rng(0)
    items = [json.loads(line) for line in (GALLERY / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [item["metadata"]["name"] for item in items]
    words = sorted({word for name in names for word in name.split()})
    pictures = [_on_white(GALLERY / item["file"]) for item in items]
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str]] = []
    for _ in range(n_steps):
        for index in _distinct(names, rng):
            file = folder / f"{len(rows):06}.png"
            _placed(pictures[index], rng).save(file)
            rows.append((file.name, _caption(names[index], words, rng)))
    table = folder / "pairs.tsv"
    with table.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, delimiter="\t").writerows([COLUMNS, *rows])
    return table


def _distinct(names: list[str], rng: np.random.Generator) -> list[int]:
    """A batch of pictures, no name twice."""
    first = {names[index]: index for index in rng.permutation(len(names)).tolist()}
    return list(first.values())[:BATCH_SIZE]


def _caption(name: str, words: list[str], rng: np.random.Generator) -> str:
    n_words = int(np.clip(rng.normal(MEAN_WORDS, WORDS_STD), MIN_WORDS, MAX_WORDS))
    more = max(0, n_words - len(name.split()))
    return " ".join([name, *(words[index] for index in rng.integers(len(words), size=more))])


def _on_white(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        drawn = picture.convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    return Image.alpha_composite(white, drawn).convert("RGB")


def _placed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(IMAGE_SIZE // 2, IMAGE_SIZE + 1))
    left, top = (int(place) for place in rng.integers(0, IMAGE_SIZE - side + 1, size=2))
    canvas = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), "white")
    canvas.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return canvas
