"""Prepared pixels of a whole sample in one file, of which only the rows in use are in memory."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels


class PixelFile:
    """(N, S, S, 3) uint8. A thousand images of 384 pixels are 440 MB: they are read batch by batch.

    The file is mapped anew for each read, so that pages of rows that were used do not count as memory of
    this process. Satisfies `parity.PixelRows`.
    """

    def __init__(self, path: Path, n_images: int, size: int) -> None:
        """Create the file, all zeros; rows are filled with `write`. Raises OSError if it has no room."""
        shape = (n_images, size, size, 3)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(path)
        self._path, self._n_images = path, n_images

    def write(self, start: int, pixels: Pixels) -> None:
        """Put B prepared images at rows `start` to `start + B`."""
        np.load(self._path, mmap_mode="r+", allow_pickle=False)[start : start + len(pixels)] = pixels

    def __len__(self) -> int:
        return self._n_images

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Pixels:
        """A copy of the asked rows."""
        return np.array(np.load(self._path, mmap_mode="r", allow_pickle=False)[rows])

    def remove(self) -> None:
        """Delete the file: it is no part of what is published."""
        self._path.unlink()


def _reserve(path: Path) -> None:
    """Take the whole room now: a full disk kills a process that writes through a map."""
    if hasattr(os, "posix_fallocate"):  # Linux
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
