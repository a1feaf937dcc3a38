"""Captioned pictures of three kinds, to refresh with and to judge by: n pairs, and others like them.

Drawn: symbols of piping diagrams. Icons: drawings of the gallery in other colours, turned and scaled, under
names of a workshop's own. Photographs: cut-outs of Tux Paint's stamps (GPL-2) under names of the parts of a
farm, none twice and none of a proof set.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

from PIL import Image, ImageChops

from benchmarks.inputs import GALLERY
from benchmarks.servers import in_cache
from diptych_training.data.debian import unpacked
from diptych_training.data.photographs.listed import listed_photographs
from diptych_training.data.photographs.proof_command import on_white
from diptych_training.refresh.example import PAPER, SYMBOLS, draw_symbol

Captioned = tuple[Image.Image, str]
N_SYMBOLS = 5
SIZE_PX, ICON_PX, TURN_DEG, N_HUES = 256, (110, 220), 20.0, 256
ICONS = {
    "alarmclock": "shift change", "bell": "call for help", "bicycle": "visitor's parking",
    "bomb": "burst pipe", "camera": "inspection point", "crown": "reference part",
    "fireengine": "assembly area", "hammer": "repair bay", "key": "locked out", "snail": "slow line",
}  # fmt: skip
STAMPS, STAMPS_FOLDER = "tuxpaint-stamps-default", Path("usr/share/tuxpaint/stamps")
PHOTOGRAPHED = {
    "aviary": ("animals/birds",),
    "paddock": (
        "animals/mammals/bovines",
        "animals/mammals/deer",
        "animals/mammals/camel",
        "animals/mammals/equines",
    ),
    "orchard": ("food/fruit",),
    "flower bed": ("plants/flowers",),
    "kitchen garden": ("food/vegetables",),
}


def drawn(n: int, n_further: int, seed: int) -> tuple[list[Captioned], list[Captioned]]:
    """Symbols, each drawn anew."""
    names = list(SYMBOLS)[:N_SYMBOLS]
    pictures = [
        (draw_symbol(names[number % N_SYMBOLS], number, seed), names[number % N_SYMBOLS])
        for number in range(n + n_further)
    ]
    return pictures[:n], pictures[n:]


def icons(n: int, n_further: int, seed: int) -> tuple[list[Captioned], list[Captioned]]:
    """Drawings of the gallery in other colours."""
    rng, files = Random(f"icons {seed}"), list(ICONS)
    pictures = [
        (_recoloured(GALLERY / f"{file}.png", rng), ICONS[file])
        for file in (files[number % len(files)] for number in range(n + n_further))
    ]
    return pictures[:n], pictures[n:]


def _recoloured(file: Path, rng: Random) -> Image.Image:
    """On a tinted ground, with its hues moved round by the same angle."""
    hue, *rest = _opened(file).convert("HSV").split()
    moved = rng.randrange(N_HUES)
    icon = Image.merge("HSV", (hue.point([(one + moved) % N_HUES for one in range(N_HUES)]), *rest))
    side = rng.randint(*ICON_PX)
    icon = icon.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    icon = icon.rotate(rng.uniform(-TURN_DEG, TURN_DEG), Image.Resampling.BICUBIC, fillcolor="white")
    sheet = Image.new("RGB", (SIZE_PX, SIZE_PX), "white")
    sheet.paste(icon, (rng.randint(0, SIZE_PX - side), rng.randint(0, SIZE_PX - side)))
    return ImageChops.multiply(sheet, Image.new("RGB", sheet.size, rng.choice(PAPER)))


def photographs(n: int, n_further: int, seed: int) -> tuple[list[Captioned], list[Captioned]]:
    """The same number of each thing to learn from, and all others, at most `n_further`."""
    rng, each = Random(f"photographs {seed}"), n // len(PHOTOGRAPHED)
    learned: list[Captioned] = []
    further: list[Captioned] = []
    for name, files in _stamps().items():
        rng.shuffle(files)
        learned += [(_opened(file), name) for file in files[:each]]
        further += [(_opened(file), name) for file in files[each:]]
    return learned, further[:n_further]


def _stamps() -> Mapping[str, list[Path]]:
    """The files of each thing, from the package the first time."""
    folder = in_cache("stamps")
    if not folder.is_dir():
        listed = {one.path for one in listed_photographs() if one.package == STAMPS}
        with unpacked(STAMPS) as package:
            for name, parts in PHOTOGRAPHED.items():
                for file in _photographs_in(package / STAMPS_FOLDER, parts):
                    if str(file.relative_to(package)) not in listed:
                        to = folder.with_suffix(".part") / name / file.name
                        to.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, to)
        folder.with_suffix(".part").rename(folder)
    return {name: sorted((folder / name).glob("*.png")) for name in PHOTOGRAPHED}


def _photographs_in(root: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    for part in parts:
        for file in sorted((root / part).rglob("*.png")):
            if "cartoon" not in file.parts:
                yield file


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as opened:
        return on_white(opened)


PICTURES: Mapping[str, Callable[[int, int, int], tuple[list[Captioned], list[Captioned]]]] = {
    "drawn": drawn,
    "icons": icons,
    "photographs": photographs,
}


def write_pairs(pictures: list[Captioned], folder: Path) -> None:
    """Write pictures, each next to its caption: `gate-valve-001.png`, `gate-valve-001.txt`."""
    folder.mkdir(parents=True)
    for number, (picture, caption) in enumerate(pictures, 1):
        file = folder / f"{caption.replace(' ', '-')}-{number:03}.png"
        picture.save(file)
        file.with_suffix(".txt").write_text(f"{caption}\n", encoding="utf-8")
