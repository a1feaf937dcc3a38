"""`diptych-train data gallery`: write a held-out art style as PNGs, the server's sample gallery."""

import argparse
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from diptych_training.data.pictograms.icon_set import read_icon_set
from diptych_training.data.pictograms.icons import listed_drawings
from diptych_training.data.pictograms.lists import (
    ICONS_PACKAGE,
    SourceSpec,
    eval_items,
    package_versions,
    source_specs,
)
from diptych_training.data.pictograms.npm import NpmCache, read_json
from diptych_training.data.pictograms.render import render
from diptych_training.data.pictograms.sources import FOLDERS
from diptych_training.errors import DataError
from diptych_training.files import open_atomic, write_text
from diptych_training.paths import cache_dir
from diptych_training.progress import each

SIZE_PX = 128
MAX_COLOURS = 256


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "gallery",
        help="draw a held-out emoji style as the server's sample gallery",
        description=f"Draws a held-out emoji style as {SIZE_PX} px PNGs, with names and attribution.",
    )
    parser.add_argument("--style", default="fxemoji", choices=sorted(_eval_styles()), help="default: fxemoji")
    out = Path("server/gallery")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"default: {out}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Download the drawings if necessary, draw the gallery, and print its size."""
    npm = NpmCache(cache_dir() / "npm", package_versions())
    package = npm.folder(ICONS_PACKAGE, *FOLDERS[ICONS_PACKAGE])
    n_images, n_bytes = write_gallery(
        _eval_styles()[args.style], package / "json" / f"{args.style}.json", args.out
    )
    tqdm.write(f"{args.out}: {n_images} images, {n_bytes / 1e6:.1f} MB")
    return 0


def write_gallery(spec: SourceSpec, icon_set: Path, out: Path) -> tuple[int, int]:
    """Draw every listed image of a style; return their number and size. DataError if one is missing."""
    drawings = listed_drawings(read_icon_set(icon_set), spec, eval_items(spec.name))
    n_bytes = 0
    lines = []
    for drawing in each(sorted(drawings, key=lambda drawing: drawing.item.id), desc=spec.name, unit="image"):
        png = draw(drawing.payload)
        n_bytes += len(png)
        with open_atomic(out / f"{drawing.item.id}.png") as file:
            file.write(png)
        lines.append(_line(spec, drawing.item.id, drawing.item.label))
    write_text(out / "items.jsonl", "".join(lines))
    write_text(out / "ATTRIBUTION.md", _attribution(spec, _info(icon_set), len(drawings)))
    return len(drawings), n_bytes


def draw(svg: bytes) -> bytes:
    """An SVG as a PNG of 128 px on white, in at most 256 colours."""
    image = Image.fromarray(render(svg, SIZE_PX))
    # Median cut keeps pure white; the mean error of such drawings is below 0.2 of 255 levels.
    palette = image.quantize(MAX_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    png = io.BytesIO()
    palette.save(png, "PNG", optimize=True)
    return png.getvalue()


def _eval_styles() -> dict[str, SourceSpec]:
    return {spec.name: spec for spec in source_specs("eval") if spec.kind == "emoji"}


def _line(spec: SourceSpec, item: str, label: str) -> str:
    metadata = {"name": label, "style": spec.name, "licence": spec.licence, "author": spec.author}
    return json.dumps({"file": f"{item}.png", "id": item, "metadata": metadata}, ensure_ascii=False) + "\n"


def _info(icon_set: Path) -> dict[str, Any]:
    content: Any = read_json(icon_set)
    try:
        return {"title": content["info"]["name"], "author_url": content["info"]["author"]["url"]}
    except KeyError as error:
        raise DataError(f"{icon_set.name} does not name its title and author: no key {error}") from None


def _attribution(spec: SourceSpec, info: dict[str, Any], n_images: int) -> str:
    paragraphs = (
        "# The pictures in this folder",
        f"{n_images} drawings of **{info['title']}** by {spec.author} ({info['author_url']}), licensed under "
        f"{spec.licence}.",
        f"They are the icons of set `{spec.name}` of the npm package `{ICONS_PACKAGE}` "
        f"{package_versions()[ICONS_PACKAGE]}, drawn at {SIZE_PX} px on white and otherwise unchanged; "
        "`items.jsonl` gives the name of each. None of them is in the training data of the default model.",
        f"Made by `diptych-train data gallery --style {spec.name} --out server/gallery`.",
    )
    return "\n\n".join(paragraphs) + "\n"
