"""Shrink the listed photographs, each under an open licence and with its author and source."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from PIL import Image

from diptych_training.data.gallery.picture import GalleryPicture
from diptych_training.data.photographs.command import ALL, judged_file
from diptych_training.data.photographs.listed import ListedPhotograph, listed_photographs, photograph_file
from diptych_training.data.photographs.proof_command import on_white
from diptych_training.errors import DataError

SIDE_PX = 320
JPEG_QUALITY = 85
LICENCES = {
    "public domain": "https://creativecommons.org/publicdomain/mark/1.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}


@dataclass(frozen=True)
class GalleryPhotograph:
    """A listed photograph under its name in the gallery. No two share a `name`."""

    listed: ListedPhotograph
    name: str


@cache
def gallery_photographs() -> tuple[GalleryPhotograph, ...]:
    """The photographs of the gallery."""
    text = files(__package__).joinpath("photographs.tsv").read_text("utf-8")
    by_file = {one.file: one for one in listed_photographs()}
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return tuple(GalleryPhotograph(by_file[row["file"]], row["name"]) for row in rows)


def photographs(folder: Path) -> Iterator[GalleryPicture]:
    """Every listed photograph as a small JPEG. DataError if one is missing."""
    for one in gallery_photographs():
        stem = "".join(letter for letter in one.name.lower() if letter.isalnum())
        metadata = {
            "name": one.name,
            "kind": "photograph",
            "licence": one.listed.licence,
            "author": one.listed.author,
            "source": one.listed.source,
        }
        yield GalleryPicture(f"{stem}-photo.jpg", shrink(_path(folder, one.listed)), metadata)


def shrink(file: Path) -> bytes:
    """A picture on white as a JPEG of at most 320 px."""
    with Image.open(file) as opened:
        small = on_white(opened)
    small.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return jpeg.getvalue()


def credits_table(pictures: Iterable[GalleryPicture]) -> str:
    """Author, licence and source of each photograph, and what was done to them."""
    row = "| {file} | {name} | {author} | [{licence}]({link}) | [source]({source}) |"
    rows = [
        row.format(file=one.file, link=LICENCES[one.metadata["licence"]], **one.metadata) for one in pictures
    ]
    return (
        f"{len(rows)} photographs, as the learning game GCompris (https://gcompris.net) and scikit-image "
        "(https://scikit-image.org) have them; GCompris cropped and sharpened some. They were resized to at "
        f"most {SIDE_PX} px and saved as JPEG, and stay under their own licences. `diptych-train` trained no "
        "model of this repository on them.\n\n"
        "| file | name | author | licence | source |\n|---|---|---|---|---|\n" + "\n".join(rows)
    )


def _path(folder: Path, listed: ListedPhotograph) -> Path:
    if listed.is_installed:
        return photograph_file(listed, folder)
    path = folder / ALL / judged_file(listed, listed.name)
    if not path.is_file():
        raise DataError(f"{path} is missing: `diptych-train data photographs` writes it")
    return path
