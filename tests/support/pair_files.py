"""Small sources of image-text pairs of every kind, made on the spot; knows nothing of how they are read.

Pair number n is an image of one colour that says n, and the caption "thing n".
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from support import pictures
from support.tars import tar_of

SIZE = 16


def picture(number: int, image_format: str = "PNG") -> bytes:
    """An image file whose colour is the number, in a base that survives JPEG."""
    return pictures.picture(colour_of(number), (SIZE, SIZE), image_format)


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of image `number`, below 4096."""
    return (number % 16) * 16, number // 16 % 16 * 16, number // 256 * 16


def numbers_of(pixels: np.ndarray) -> list[int]:
    """(N, S, S, 3) -> the numbers of N images."""
    middle = pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].astype(int) // 16
    return [int(red + 16 * green + 256 * blue) for red, green, blue in middle]


def pair_files(numbers: Iterable[int]) -> dict[str, bytes]:
    """The files of pairs, as they lie in a tar shard or a folder."""
    files: dict[str, bytes] = {}
    for number in numbers:
        files[f"{number:05}.png"] = picture(number)
        files[f"{number:05}.txt"] = f"thing {number}".encode()
    return files


def write_tars(folder: Path, n_shards: int, n_each: int) -> str:
    """Shards `s-0.tar` and so on of consecutive pairs; returns the pattern that names them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(n_shards):
        numbers = range(shard * n_each, (shard + 1) * n_each)
        (folder / f"s-{shard}.tar").write_bytes(tar_of(pair_files(numbers)))
    return f"{folder}/s-{{0..{n_shards - 1}}}.tar"


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Files below a folder, by their relative names."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_table(file: Path, rows: Sequence[Sequence[str]], delimiter: str = ",") -> Path:
    """A table of these rows, the names of the columns first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, delimiter=delimiter).writerows(rows)
    return file


def write_image_table(folder: Path, n: int, ending: str = "csv") -> Path:
    """`n` images in `images/`, and a table of their paths and captions beside that."""
    write_files(folder, {f"images/{number}.png": picture(number) for number in range(n)})
    rows = [["path", "caption"], *([f"images/{number}.png", f"thing {number}"] for number in range(n))]
    return write_table(folder / f"pairs.{ending}", rows, "\t" if ending == "tsv" else ",")


def json_file(**row: object) -> bytes:
    """A JSON object."""
    return json.dumps(row).encode()
