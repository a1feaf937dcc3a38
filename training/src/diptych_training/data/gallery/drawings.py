"""Draw a held-out emoji style: small PNGs in few colours."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from diptych_training.data.gallery.picture import GalleryPicture
from diptych_training.data.pictograms.icon_set import read_icon_set
from diptych_training.data.pictograms.icons import listed_drawings
from diptych_training.data.pictograms.lists import ICONS_PACKAGE, SourceSpec, eval_items, package_versions
from diptych_training.data.pictograms.npm import read_json
from diptych_training.data.pictograms.render import render
from diptych_training.errors import DataError
from diptych_training.progress import each

SIZE_PX = 128
MAX_COLOURS = 256


def drawings(spec: SourceSpec, icon_set: Path) -> Iterator[GalleryPicture]:
    """Every listed image of a style, in the order of their ids. DataError if one is missing."""
    listed = listed_drawings(read_icon_set(icon_set), spec, eval_items(spec.name))
    for drawing in each(sorted(listed, key=lambda one: one.item.id), desc=spec.name, unit="image"):
        metadata = {
            "name": drawing.item.label,
            "kind": "drawing",
            "style": spec.name,
            "licence": spec.licence,
            "author": spec.author,
        }
        yield GalleryPicture(f"{drawing.item.id}.png", draw(drawing.payload), metadata)


def draw(svg: bytes) -> bytes:
    """An SVG as a PNG of 128 px on white, in at most 256 colours."""
    image = Image.fromarray(render(svg, SIZE_PX))
    # Median cut keeps pure white; the mean error of such drawings is below 0.2 of 255 levels.
    palette = image.quantize(MAX_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    png = io.BytesIO()
    palette.save(png, "PNG", optimize=True)
    return png.getvalue()


def credit(spec: SourceSpec, icon_set: Path, n_images: int) -> str:
    """Return the credit of the drawings: their authors, and the changes made."""
    content: Any = read_json(icon_set)
    try:
        title, author_url = content["info"]["name"], content["info"]["author"]["url"]
    except KeyError as error:
        raise DataError(f"{icon_set.name} does not name its title and author: no key {error}") from None
    return (
        f"{n_images} drawings of **{title}** by {spec.author} ({author_url}), licensed under "
        f"{spec.licence}.\n\n"
        f"They are the icons of set `{spec.name}` of the npm package `{ICONS_PACKAGE}` "
        f"{package_versions()[ICONS_PACKAGE]}, drawn at {SIZE_PX} px on white and otherwise unchanged; "
        "`items.jsonl` gives the name of each. None of them is in the training data of the default model."
    )
