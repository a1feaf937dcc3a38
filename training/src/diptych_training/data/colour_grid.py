"""Coarse colour grids of images, for finding near duplicates whatever their size or file format."""

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels

GRID = 16  # images are compared as 16 x 16 cells of mean colour
Rows = NDArray[np.float32]


def colour_grids(images: Pixels) -> Rows:
    """(B, S, S, 3) uint8 -> (B, GRID * GRID * 3) colours of cells around the image's mean, of unit norm.

    S is a multiple of GRID. An image of one colour becomes zeros.
    """
    n, size = images.shape[:2]
    cell = size // GRID
    cells = images.reshape(n, GRID, cell, GRID, cell, 3).mean(axis=(2, 4), dtype=np.float32)
    rows = cells.reshape(n, -1)
    rows -= rows.mean(axis=1, keepdims=True)
    unit: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit
