"""The corpus of hostile image files: named, reproducible, each with the statuses that a server may return."""

import random
from collections.abc import Iterator
from functools import cache

from support.hostile.containers import encoded, scene
from support.hostile.entry import ANY, DAMAGED, FOREIGN, GOOD, Hostile
from support.hostile.foreign import foreign
from support.hostile.heics import heics
from support.hostile.jpegs import jpegs
from support.hostile.others import avifs, bmps, gifs, webps
from support.hostile.pngs import pngs
from support.hostile.tiffs import tiffs

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP")
N_FLIPPED = 4


@cache
def corpus() -> tuple[Hostile, ...]:
    """Return the whole corpus. Names are unique."""
    kinds = (jpegs(), pngs(), tiffs(), gifs(), webps(), avifs(), heics(), bmps(), foreign())
    entries = tuple(entry for part in (*kinds, _truncated(), _flipped()) for entry in part)
    assert len({entry.name for entry in entries}) == len(entries)
    return entries


@cache
def good_files() -> tuple[bytes, ...]:
    """Return ordinary pictures of every format, to send together with hostile files."""
    return tuple(encoded(scene(60, 50, seed), form) for seed in range(3) for form in FORMATS)


def _truncated() -> Iterator[Hostile]:
    for form in FORMATS:
        file = encoded(scene(), form)
        for percent in (2, 10, 50, 90):
            # The directory of a TIFF may be at its end; without it, the decoder does not recognise the file.
            statuses = DAMAGED | FOREIGN if form == "TIFF" else DAMAGED
            if len(file) * percent // 100 < 16:
                statuses |= FOREIGN  # too short to be recognised
            yield Hostile(f"{percent}% of a {form}", file[: len(file) * percent // 100], statuses)


def _flipped() -> Iterator[Hostile]:
    for form in FORMATS:
        for seed in range(N_FLIPPED):
            rng = random.Random(f"{form} {seed}")
            file = bytearray(encoded(scene(), form))
            for _ in range(8):
                file[rng.randrange(len(file))] ^= 1 << rng.randrange(8)
            yield Hostile(f"{form} with flipped bits, {seed}", bytes(file), ANY)


def good(entries: tuple[Hostile, ...]) -> list[Hostile]:
    """Return the entries for which the server must return a vector."""
    return [entry for entry in entries if entry.statuses == GOOD]
