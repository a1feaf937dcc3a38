"""Small data sets of coloured pictures, in folders of classes and in CLIP_benchmark's shards.

The tiny bundle (`support.tiny_bundle`) knows the colours by name.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from support.pictures import picture
from support.tars import tar_of

Label = int | Sequence[int] | str  # the number of a class, a row of 0 and 1, or captions one a line
TYPES = {int: ("cls", "classification"), str: ("txt", "retrieval")}
CLASSES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"


def write_class_folders(folder: Path, pictures: Mapping[str, Sequence[bytes]], ending: str = "png") -> Path:
    """`folder/CLASS/0.png`, ... for each class."""
    for name, files in pictures.items():
        (folder / name).mkdir(parents=True)
        for number, content in enumerate(files):
            (folder / name / f"{number}.{ending}").write_bytes(content)
    return folder


def write_shards(
    folder: Path,
    splits: Mapping[str, Sequence[tuple[bytes, Label]]],
    classes: Sequence[str] = (),
    templates: Sequence[str] = (),
    per_shard: int = 3,
) -> Path:
    """`folder/SPLIT/0.tar`, ... with the files beside them that CLIP_benchmark reads."""
    label = next(label for samples in splits.values() for _, label in samples)
    ending, kind = TYPES.get(type(label), ("npy", "multilabel"))
    for split, samples in splits.items():
        (folder / split).mkdir(parents=True)
        starts = range(0, len(samples), per_shard)
        for number, start in enumerate(starts):
            files = {}
            for place, (content, own) in enumerate(samples[start : start + per_shard], start):
                files[f"s{place:07d}.png"] = content
                files[f"s{place:07d}.{ending}"] = _bytes(own)
            (folder / split / f"{number}.tar").write_bytes(tar_of(files))
        (folder / split / "nshards.txt").write_text(str(len(starts)))
    (folder / "dataset_type.txt").write_text(kind)
    for name, lines in ((CLASSES, classes), (TEMPLATES, templates)):
        if lines:
            (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder


def shades(colour: tuple[int, int, int], n: int, seed: int = 0) -> list[bytes]:
    """`n` pictures of nearly this colour, all different."""
    rng = np.random.default_rng(seed)
    near = np.clip(np.asarray(colour) + rng.integers(-12, 13, (n, 3)), 0, 255)
    return [picture((int(red), int(green), int(blue))) for red, green, blue in near]


def _bytes(label: Label) -> bytes:
    if isinstance(label, int | str):
        return str(label).encode()
    out = io.BytesIO()
    np.save(out, np.asarray(label))
    return out.getvalue()
