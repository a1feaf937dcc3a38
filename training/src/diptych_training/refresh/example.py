"""`python -m diptych_training.refresh.example`: draw captioned pictures of piping symbols, to refresh with.

Emoji and icons do not show these symbols of piping diagrams, so a model of pictograms confuses them.
Every picture has its own colours, background, line width, size, place and angle; its caption is the name of
the symbol.
"""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from diptych.argument_parser import Parser

SIZE_PX = 256
OVERSAMPLING = 3  # drawn larger, then reduced: Pillow draws without anti-aliasing
N_ARC_POINTS = 72
QUARTER_TURN_SHARE = 0.3  # pipes also run up and down
DARK = ("#111827", "#1e3a8a", "#7f1d1d", "#14532d", "#4c1d95", "#0f766e", "#7c2d12", "#be123c", "#1d4ed8")
PAPER = ("#ffffff", "#ffffff", "#f8fafc", "#fef9c3", "#e0f2fe", "#f1f5f9", "#fee2e2", "#ecfccb")
LIGHT = ("#ffffff", "#fde68a", "#bae6fd", "#d9f99d")  # lines on a dark board
BOARD = ("#0f172a", "#1e3a5f", "#14342b", "#3b0764")
TINTS = ("#fca5a5", "#93c5fd", "#86efac", "#fcd34d", "#c4b5fd", "#cbd5e1")

Point = tuple[float, float]


class Pen:
    """Draws lines in a square from (-1, -1) to (1, 1), y upwards, that is turned, scaled and moved."""

    def __init__(self, draw: ImageDraw.ImageDraw, rng: Random) -> None:
        side = SIZE_PX * OVERSAMPLING
        self._draw = draw
        self._radius_px = side * rng.uniform(0.27, 0.42)
        room_px = side / 2 - self._radius_px
        self._centre_px = [side / 2 + rng.uniform(-0.7, 0.7) * room_px for _ in range(2)]
        turn = math.pi / 2 if rng.random() < QUARTER_TURN_SHARE else 0.0
        self._angle = turn + math.radians(rng.uniform(-14, 14))
        self._width_px = round(self._radius_px * rng.uniform(0.035, 0.09))
        is_board = rng.random() < 0.25
        self.paper = rng.choice(BOARD if is_board else PAPER)
        self._ink = rng.choice(LIGHT if is_board else DARK)
        self._fill = rng.choice((None, None, rng.choice(TINTS)))

    def line(self, *points: Point) -> None:
        """A line through the points, with round ends."""
        placed = [self._place(point) for point in points]
        self._draw.line(placed, fill=self._ink, width=self._width_px, joint="curve")
        radius = self._width_px / 2
        for x, y in (placed[0], placed[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=self._ink)

    def shape(self, *points: Point, is_solid: bool = False) -> None:
        """A closed outline; filled with ink if solid, else with the picture's tint, if it has one."""
        fill = self._ink if is_solid else self._fill
        if fill is not None:
            self._draw.polygon([self._place(point) for point in points], fill=fill)
        self.line(*points, points[0])

    def circle(self, centre: Point, radius: float, *, is_solid: bool = False) -> None:
        """A circle, filled like a shape."""
        self.shape(*_arc(centre, radius, 0, 360), is_solid=is_solid)

    def _place(self, point: Point) -> Point:
        x, y = (value * self._radius_px for value in point)
        cos, sin = math.cos(self._angle), math.sin(self._angle)
        left, top = self._centre_px
        return left + x * cos - y * sin, top - x * sin - y * cos


def _gate_valve(pen: Pen, rng: Random) -> None:
    """Two triangles that meet at their tips, a stem, and a handwheel drawn as a bar."""
    height, stem = rng.uniform(0.38, 0.5), rng.uniform(0.6, 0.8)
    pen.shape((-0.6, height), (0, 0), (-0.6, -height))
    pen.shape((0.6, height), (0, 0), (0.6, -height))
    pen.line((0, 0), (0, stem))
    pen.line((-0.32, stem), (0.32, stem))
    _pipes(pen, 0.6)


def _check_valve(pen: Pen, rng: Random) -> None:
    """Two bars across the pipe, joined by a slanted flap that is hinged at a dot."""
    height, half = rng.uniform(0.45, 0.6), rng.uniform(0.4, 0.5)
    pen.line((-half, -height), (-half, height), (half, -height), (half, height))
    pen.circle((-half, height), 0.11, is_solid=True)
    _pipes(pen, half)


def _centrifugal_pump(pen: Pen, rng: Random) -> None:
    """A circle on a foot, with an outlet along its top and a mark at its middle."""
    radius = rng.uniform(0.5, 0.58)
    pen.circle((0, 0), radius)
    left, right = (_arc((0, 0), radius, degrees, degrees, 1)[0] for degrees in (240, 300))
    pen.line(left, (-0.5, -0.92), (0.5, -0.92), right)
    pen.line((0, radius), (1, radius))
    pen.line((0.35, radius - 0.22), (1, radius - 0.22))
    pen.line((-1, 0), (0, 0))
    pen.circle((0, 0), 0.09, is_solid=True)


def _heat_exchanger(pen: Pen, rng: Random) -> None:
    """A circle that a pipe crosses in a zigzag."""
    radius, height = rng.uniform(0.58, 0.68), rng.uniform(0.25, 0.36)
    pen.circle((0, 0), radius)
    pen.line((-1, 0), (-0.36, 0), (-0.15, height), (0.15, -height), (0.36, 0), (1, 0))


def _pressure_gauge(pen: Pen, rng: Random) -> None:
    """A dial with ticks and a needle, on a stem that stands on a pipe."""
    radius, needle = 0.52, math.radians(rng.uniform(20, 160))
    pen.circle((0, 0.35), radius)
    for degrees in range(0, 181, 45):
        (outer,), (inner,) = (_arc((0, 0.35), radius * share, degrees, degrees, 1) for share in (0.92, 0.7))
        pen.line(outer, inner)
    pen.line((0, 0.35), (0.34 * math.cos(needle), 0.35 + 0.34 * math.sin(needle)))
    pen.line((0, 0.35 - radius), (0, -0.75))
    pen.line((-0.9, -0.75), (0.9, -0.75))


def _storage_tank(pen: Pen, rng: Random) -> None:
    """A drum with domed ends that stands on two legs, and its level as a line."""
    half, height = rng.uniform(0.36, 0.46), rng.uniform(0.4, 0.5)
    top = [(x, height + 0.6 * y) for x, y in _arc((0, 0), half, 0, 180)]
    bottom = [(x, 0.6 * y - height) for x, y in _arc((0, 0), half, 180, 360)]
    pen.shape((half, height), *top, (-half, height), (-half, -height), *bottom, (half, -height))
    level = rng.uniform(-0.2, 0.25)
    pen.line((-half, level), (half, level))
    for x in (-0.6 * half, 0.6 * half):
        pen.line((x, -height - 0.2), (x, -0.98))


def _strainer(pen: Pen, rng: Random) -> None:
    """A square across the pipe, with a dashed slanted screen."""
    half = rng.uniform(0.4, 0.5)
    pen.shape((-half, -half), (-half, half), (half, half), (half, -half))
    for start in (-1.0, -0.4, 0.2, 0.8):
        end = min(start + 0.3, 1.0)
        pen.line((start * half, -start * half), (end * half, -end * half))
    _pipes(pen, half)


def _electric_motor(pen: Pen, rng: Random) -> None:
    """A circle with an M, and a shaft to its right that ends in a coupling."""
    radius, half = rng.uniform(0.52, 0.6), rng.uniform(0.2, 0.26)
    pen.circle((-0.2, 0), radius)
    pen.line(
        (-0.2 - half, -half), (-0.2 - half, half), (-0.2, -0.1), (-0.2 + half, half), (-0.2 + half, -half)
    )
    pen.line((radius - 0.2, 0), (0.85, 0))
    pen.line((0.85, -0.25), (0.85, 0.25))


def _pipes(pen: Pen, half_width: float) -> None:
    pen.line((-1, 0), (-half_width, 0))
    pen.line((half_width, 0), (1, 0))


def _arc(
    centre: Point, radius: float, first_degrees: float, last_degrees: float, n_points: int = N_ARC_POINTS
) -> list[Point]:
    """Points on a circle, counter-clockwise from the right; the last angle is left out."""
    step = (last_degrees - first_degrees) / n_points
    angles = [math.radians(first_degrees + index * step) for index in range(n_points)]
    return [(centre[0] + radius * math.cos(one), centre[1] + radius * math.sin(one)) for one in angles]


SYMBOLS: dict[str, Callable[[Pen, Random], None]] = {
    "gate valve": _gate_valve,
    "check valve": _check_valve,
    "centrifugal pump": _centrifugal_pump,
    "heat exchanger": _heat_exchanger,
    "pressure gauge": _pressure_gauge,
    "storage tank": _storage_tank,
    "strainer": _strainer,
    "electric motor": _electric_motor,
}
N_KINDS = 5  # symbols that are drawn unless more are asked for


def draw_symbol(name: str, number: int, seed: int = 0) -> Image.Image:
    """Draw one of SYMBOLS; the same name, number and seed always give the same picture."""
    rng = Random(f"{seed} {name} {number}")
    side = SIZE_PX * OVERSAMPLING
    image = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(image)
    pen = Pen(draw, rng)
    draw.rectangle((0, 0, side, side), fill=pen.paper)
    SYMBOLS[name](pen, rng)
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)


def draw_example(folder: Path, n_pictures: int, seed: int = 0, n_kinds: int = N_KINDS) -> None:
    """Write pictures and captions of the first symbols in turn: `gate-valve-001.png`, `gate-valve-001.txt`.

    More pictures with the same seed keep those that fewer have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(SYMBOLS)[:n_kinds]
    for index in range(n_pictures):
        name, number = names[index % len(names)], index // len(names) + 1
        file = folder / f"{name.replace(' ', '-')}-{number:03}.png"
        draw_symbol(name, number, seed).save(file, optimize=True)
        file.with_suffix(".txt").write_text(f"{name}\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the pictures that the flags ask for, and print where they are."""
    parser = Parser(
        prog="python -m diptych_training.refresh.example",
        description=f"Draws captioned pictures of {', '.join(SYMBOLS)}, to try `diptych-train refresh` with.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the pictures")
    parser.add_argument("--pictures", type=int, default=100, metavar="N", help="in total; default 100")
    parser.add_argument(
        "--kinds", type=int, default=N_KINDS, choices=range(2, len(SYMBOLS) + 1), help="of symbols; default 5"
    )
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other pictures; default 0")
    args = parser.parse_args(argv)
    if args.pictures < 1:
        parser.error(f"--pictures is {args.pictures}, must be at least 1")
    draw_example(args.out, args.pictures, args.seed, args.kinds)
    drawn = ", ".join(list(SYMBOLS)[: min(args.pictures, args.kinds)])
    sys.stdout.write(f"{args.out}: {args.pictures:,} pictures of {drawn}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
