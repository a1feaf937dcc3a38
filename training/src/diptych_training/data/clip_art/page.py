"""Render what is drawn on a page, whose sides may be stated in units of print."""

import re

import numpy as np
from PIL import Image

from diptych_training.data.pictograms.render import WHITE, Pixels, render

PX_PER = {"pt": 1.25, "mm": 90 / 25.4, "cm": 90 / 2.54, "in": 90.0}  # of the editors of that time
SIDE = re.compile(r'(\s(?:width|height)=")([\d.]+)(pt|mm|cm|in)"')
ROOT = re.compile(r"<svg\b[^>]*>")
MARGIN = 0.04  # of the side
ZOOM = 2  # a drawing may fill half of its page
LIGHT = 250  # levels of 255: lighter pixels are paper


def render_page(svg: bytes, size: int) -> Pixels:
    """(size, size, 3) uint8 RGB on white: the drawing fills the image, wherever it is on its page.

    ValueError if the page cannot be drawn.
    """
    return fill(render(in_pixels(svg.decode()).encode(), ZOOM * size), size)


def in_pixels(svg: str) -> str:
    """The same page with its sides in pixels."""
    return ROOT.sub(lambda root: SIDE.sub(_side, root.group()), svg, count=1)


def fill(page: Pixels, size: int) -> Pixels:
    """Crop to what differs from white, and scale to `size`; a page of white stays white."""
    rows, columns = np.nonzero(page.min(axis=2) < LIGHT)
    canvas = Image.new("RGB", (size, size), WHITE)
    if len(rows):
        left, top, right, bottom = (
            int(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        )
        drawing = Image.fromarray(page).crop((left, top, right, bottom))
        scale = (1 - 2 * MARGIN) * size / max(drawing.size)
        sides = [max(1, round(side * scale)) for side in drawing.size]
        drawing = drawing.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)
        canvas.paste(drawing, ((size - sides[0]) // 2, (size - sides[1]) // 2))
    return np.asarray(canvas)


def _side(found: re.Match[str]) -> str:
    before, number, unit = found.groups()
    return f'{before}{float(number) * PX_PER[unit]:g}"'
