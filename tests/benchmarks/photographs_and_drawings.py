"""How well bundles name photographs, and find drawings and photographs in one collection.

Photographs: the folders that `diptych-train data photographs` writes. Drawings: those of `server/gallery`.
Each name is a query once; a hit is right if the first picture has that name. Prints one markdown table.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.repository import ModelRepository
from diptych_training.benchmark.data_sets.pictures import FilePictures, StoredFile
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle, named_bundle
from diptych_training.paths import cache_dir
from support.documents import ROOT

Rows = NDArray[np.float32]
COLUMNS = ("photographs top-1 / top-5", "ten labels", "drawings", "both: drawings", "both: photographs")
BATCH_SIZE = 16
ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Pictures:
    """Embeddings (N, D) and the name of each."""

    rows: Rows
    names: Sequence[str]

    def joined(self, other: "Pictures") -> "Pictures":
        """Both in one collection."""
        return Pictures(np.concatenate([self.rows, other.rows]), [*self.names, *other.names])


def embedded(model: EvaluatedModel, files: Sequence[tuple[Path, str]]) -> Pictures:
    """Open and embed pictures, each with its name, as the server does."""
    pictures = FilePictures(tuple(StoredFile(file) for file, _ in files))
    batches = pictures.batches(model.image_spec, BATCH_SIZE)
    rows = np.concatenate([model.encoder.encode_image(batch) for batch in batches])
    return Pictures(rows, [name for _, name in files])


def photographs(folder: Path) -> list[tuple[Path, str]]:
    """Files in folders of classes."""
    return [
        (file, file.parent.name.replace("_", " "))
        for file in sorted(folder.glob("*/*"))
        if file.suffix.lower() in ENDINGS
    ]


def drawings(gallery: Path) -> list[tuple[Path, str]]:
    """The drawings of the gallery."""
    items = [json.loads(line) for line in (gallery / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        (gallery / item["file"], item["metadata"]["name"])
        for item in items
        if item["metadata"].get("kind", "drawing") == "drawing"
    ]


def top_k(model: EvaluatedModel, pictures: Pictures, k: int) -> float:
    """The share of pictures whose own name is among the first k of all names."""
    names = sorted(set(pictures.names))
    scores = pictures.rows @ _texts(model, names).T  # (N, M)
    own = scores[np.arange(len(scores)), [names.index(name) for name in pictures.names]]
    return float(((scores > own[:, None]).sum(axis=1) < k).mean())


def first_hits(model: EvaluatedModel, collection: Pictures, queries: Sequence[str]) -> float:
    """The share of names whose first hit has that name."""
    best = (_texts(model, queries) @ collection.rows.T).argmax(axis=1)
    return float(np.mean([collection.names[row] == name for row, name in zip(best, queries, strict=True)]))


def _texts(model: EvaluatedModel, names: Sequence[str]) -> Rows:
    return embed_texts(model.encoder, model.tokenizer, names)


def measured(model: EvaluatedModel, folder: Path, gallery: Path) -> list[str]:
    """The cells of a row of the table."""
    shown, everyday = (embedded(model, photographs(folder / part)) for part in ("gcompris", "everyday"))
    drawn = embedded(model, drawings(gallery))
    both = drawn.joined(shown)
    names_shown, names_drawn = sorted(set(shown.names)), sorted(set(drawn.names))
    return [
        f"{top_k(model, shown, 1):.3f} / {top_k(model, shown, 5):.3f}",
        f"{top_k(model, everyday, 1):.3f}",
        f"{first_hits(model, drawn, names_drawn):.3f}",
        f"{first_hits(model, both, names_drawn):.3f}",
        f"{first_hits(model, both, names_shown):.3f}",
    ]


def main() -> None:
    """Measure the bundles of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", metavar="NAME[/V]")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--model-repo", type=Path, default=ROOT / "model_repo")
    parser.add_argument("--photographs", type=Path, default=cache_dir() / "photographs")
    parser.add_argument("--gallery", type=Path, default=ROOT / "server" / "gallery")
    args = parser.parse_args()
    repository = ModelRepository(args.model_repo)
    print(f"| model | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in args.bundles:
        model = load_evaluated_bundle(repository, *named_bundle(repository, name), precision=args.precision)
        print(f"| {model.name} | {' | '.join(measured(model, args.photographs, args.gallery))} |", flush=True)


if __name__ == "__main__":
    main()
