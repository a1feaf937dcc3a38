"""`diptych-train data shaded-drawings`: unpack shaded drawings to measure models on."""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from diptych_training.data.debian import unpacked
from diptych_training.data.pictograms.emoji import EmojiFiles, emoji_drawings
from diptych_training.data.pictograms.emoji_names import read_emoji_names
from diptych_training.data.pictograms.lists import NAMES_PACKAGE, package_versions
from diptych_training.data.pictograms.npm import NpmCache
from diptych_training.data.pictograms.render import render
from diptych_training.data.pictograms.sources import FOLDERS
from diptych_training.errors import DataError
from diptych_training.files import open_atomic, write_text
from diptych_training.paths import cache_dir

NAME = "shaded-drawings"
SIZE = 256  # of drawings that have no size of their own


@dataclass(frozen=True)
class HeldOut:
    """Drawings that no model is trained or tuned on. `folder` holds them in the package."""

    name: str
    package: str
    folder: str
    licence: str
    author: str


FLUENT_3D = HeldOut("fluent-3d", "@lobehub/fluent-emoji-3d", "assets", "MIT", "Microsoft Corporation")
FLUENT_3D_VERSION = "1.1.0"
THEMES = (
    HeldOut(
        "oxygen",
        "oxygen-icon-theme",
        "usr/share/icons/oxygen/base/128x128",
        "LGPL-3.0-or-later",
        "Oxygen artists",
    ),
    HeldOut(
        "tango", "tango-icon-theme", "usr/share/icons/Tango/scalable", "CC0-1.0", "Tango Desktop Project"
    ),
)
# Names of programs and file formats, which are in other folders of a theme, describe nothing.
CONTEXTS = ("actions", "categories", "devices", "emblems", "emotes", "places", "status")
Named = tuple[str, str, bytes]  # label, name of the file, content


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `shaded-drawings` to the commands of `data`."""
    packages = ", ".join(one.package for one in (FLUENT_3D, *THEMES))
    parser = subparsers.add_parser(
        NAME,
        help="unpack shaded drawings to measure models on, from npm and Debian packages",
        description=f"Fetches {packages} (64 MB) with npm and apt-get, and unpacks their drawings as "
        "folders of classes for `benchmark --on`: train and tune nothing on them. The icon themes are styles "
        "that no training data have; fluent-3d has motifs of fluent-modern.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=cache_dir() / NAME,
        metavar="DIR",
        help=f"default: $DIPTYCH_CACHE/{NAME}",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Unpack each style, and print how many drawings it has."""
    versions = {**package_versions(), FLUENT_3D.package: FLUENT_3D_VERSION}
    npm = NpmCache(cache_dir() / "npm", versions)
    names = read_emoji_names(npm.folder(NAMES_PACKAGE, *FOLDERS[NAMES_PACKAGE]))
    where = EmojiFiles(FLUENT_3D.folder, ".webp", tones=False, flags=False)
    emoji = emoji_drawings(npm.folder(FLUENT_3D.package, "assets/"), where, names)
    drawn = ((one.item.label, f"{one.item.id}.webp", one.payload) for one in emoji)
    _report(args.out, FLUENT_3D, write_style(args.out, FLUENT_3D, drawn))
    for theme in THEMES:
        with unpacked(theme.package) as package:
            _report(args.out, theme, write_style(args.out, theme, theme_drawings(package, theme)))
    return 0


def theme_drawings(package: Path, theme: HeldOut) -> Iterator[Named]:
    """The icons of a theme with their names as words, each once: links are other names."""
    seen = set()
    for context in CONTEXTS:
        for file in sorted((package / theme.folder / context).glob("*.*g")):
            label = file.stem.replace("-", " ").replace("_", " ")
            if not file.is_symlink() and label not in seen:
                seen.add(label)
                content = file.read_bytes()
                yield label, f"{file.stem}.png", content if file.suffix == ".png" else _png(content)


def write_style(out: Path, style: HeldOut, drawings: Iterator[Named]) -> int:
    """Write the drawings as folders of classes, in place of those of an earlier call; how many.

    DataError if there are none.
    """
    folder, n = out / style.name, 0
    shutil.rmtree(folder, ignore_errors=True)
    for label, name, content in drawings:
        with open_atomic(folder / label.replace("/", " ").replace(" ", "_") / name) as file:
            file.write(content)
        n += 1
    if not n:
        raise DataError(f"{style.package} has no drawings in {style.folder}: another version of the package?")
    write_text(folder / "templates.txt", "{}\n")
    write_text(folder / "COPYRIGHT", f"{style.author}, {style.licence}; from the package {style.package}\n")
    return n


def _png(svg: bytes) -> bytes:
    png = BytesIO()
    Image.fromarray(render(svg, SIZE)).save(png, "PNG")
    return png.getvalue()


def _report(out: Path, style: HeldOut, n: int) -> None:
    print(f"{out / style.name}: {n:,} drawings, {style.licence}")
