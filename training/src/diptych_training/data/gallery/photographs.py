"""Shrink the listed photographs, each under an open licence and with its author and source."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from diptych_training.data.gallery.picture import GalleryPicture
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
class ListedPhotograph:
    """`file` is in the folder of `data photographs` or in the package `skimage`. No two share a `name`."""

    file: str
    name: str
    licence: str
    author: str
    source: str


@cache
def listed_photographs() -> tuple[ListedPhotograph, ...]:
    """The photographs of the gallery."""
    text = files(__package__).joinpath("photographs.tsv").read_text("utf-8")
    return tuple(ListedPhotograph(**row) for row in csv.DictReader(text.splitlines(), delimiter="\t"))


def photographs(folder: Path) -> Iterator[GalleryPicture]:
    """Every listed photograph as a small JPEG. DataError if one is missing."""
    for listed in listed_photographs():
        stem = "".join(letter for letter in listed.name.lower() if letter.isalnum())
        metadata = {
            "name": listed.name,
            "kind": "photograph",
            "licence": listed.licence,
            "author": listed.author,
            "source": listed.source,
        }
        yield GalleryPicture(f"{stem}-photo.jpg", shrink(_path(folder, listed.file)), metadata)


def shrink(file: Path) -> bytes:
    """A picture on white as a JPEG of at most 320 px."""
    with Image.open(file) as opened:
        picture = opened.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    small = Image.alpha_composite(ground, picture).convert("RGB")
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


def _path(folder: Path, file: str) -> Path:
    package, _, inside = file.partition("/")
    if package != "skimage":
        path, remedy = folder / file, "`diptych-train data photographs` writes it"
    else:
        path, remedy = _package_folder(package) / inside, "it comes with scikit-image"
    if not path.is_file():
        raise DataError(f"{path} is missing: {remedy}")
    return path


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError("some photographs come with scikit-image: pip install 'diptych-training[import]'")
    return Path(spec.submodule_search_locations[0])
