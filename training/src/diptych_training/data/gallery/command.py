"""`diptych-train data gallery`: write the server's sample gallery."""

import argparse
from pathlib import Path

from tqdm import tqdm

from diptych_training.data.gallery import drawings
from diptych_training.data.gallery.photographs import credits_table, photographs
from diptych_training.data.gallery.picture import GalleryPicture
from diptych_training.data.pictograms.lists import ICONS_PACKAGE, SourceSpec, package_versions, source_specs
from diptych_training.data.pictograms.npm import NpmCache
from diptych_training.data.pictograms.sources import FOLDERS
from diptych_training.files import open_atomic, write_text
from diptych_training.paths import cache_dir


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "gallery",
        help="make the server's sample gallery: a held-out emoji style, and photographs",
        description=f"Draws a held-out emoji style as {drawings.SIZE_PX} px PNGs, with names and credits; "
        "--photographs adds openly licensed photographs.",
    )
    parser.add_argument("--style", default="fxemoji", choices=sorted(_eval_styles()), help="default: fxemoji")
    parser.add_argument(
        "--photographs",
        type=Path,
        metavar="DIR",
        help="what `data photographs` wrote; default: drawings only",
    )
    out = Path("server/gallery")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"default: {out}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Download the drawings if necessary, write the gallery, and print its size."""
    npm = NpmCache(cache_dir() / "npm", package_versions())
    package = npm.folder(ICONS_PACKAGE, *FOLDERS[ICONS_PACKAGE])
    icon_set = package / "json" / f"{args.style}.json"
    n_images, n_bytes = write_gallery(_eval_styles()[args.style], icon_set, args.photographs, args.out)
    tqdm.write(f"{args.out}: {n_images} images, {n_bytes / 1e6:.1f} MB")
    return 0


def write_gallery(
    spec: SourceSpec, icon_set: Path, photograph_folder: Path | None, out: Path
) -> tuple[int, int]:
    """Write all pictures, their names and their credits; return the number and size of the pictures.

    Raises DataError if a picture is missing.
    """
    drawn = list(drawings.drawings(spec, icon_set))
    taken = list(photographs(photograph_folder)) if photograph_folder is not None else []
    for picture in (*drawn, *taken):
        with open_atomic(out / picture.file) as file:
            file.write(picture.content)
    write_text(out / "items.jsonl", "".join(picture.line for picture in (*drawn, *taken)))
    credit = drawings.credit(spec, icon_set, len(drawn))
    write_text(out / "ATTRIBUTION.md", _attribution(credit, taken, spec.name))
    return len(drawn) + len(taken), sum(len(picture.content) for picture in (*drawn, *taken))


def _eval_styles() -> dict[str, SourceSpec]:
    return {spec.name: spec for spec in source_specs("eval") if spec.kind == "emoji"}


def _attribution(drawing_credit: str, taken: list[GalleryPicture], style: str) -> str:
    flags = " --photographs ~/.cache/diptych/photographs" if taken else ""
    paragraphs = ["# The pictures in this folder", drawing_credit]
    if taken:
        paragraphs.append(credits_table(taken))
    paragraphs.append(f"Made by `diptych-train data gallery --style {style}{flags} --out server/gallery`.")
    return "\n\n".join(paragraphs) + "\n"
