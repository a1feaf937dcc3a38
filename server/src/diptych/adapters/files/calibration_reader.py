"""Reads the calibration of a version, again whenever one of its files has changed."""

import logging
from collections.abc import Sequence
from pathlib import Path

from diptych.bundle.calibration import Calibration, read_calibration
from diptych.bundle.manifest import Manifest
from diptych.errors import BundleError

LOG = logging.getLogger("diptych.calibration")
Stamp = tuple[int, int, int]  # inode, bytes and time of change of a file


class CalibrationReader:
    """Call it from any one thread at a time. Blocking; it costs little while the files stay the same.

    The first of the files that can be used counts. The log says why one cannot, once.
    """

    def __init__(self, files: Sequence[Path], manifest: Manifest) -> None:
        """The files need not exist."""
        self._files = tuple(files)
        self._manifest = manifest
        self._stamps: tuple[Stamp | None, ...] = ()
        self._found: Calibration | None = None

    def __call__(self) -> Calibration | None:
        """The calibration of the version; None if there is none."""
        stamps = tuple(map(_stamp, self._files))
        if stamps != self._stamps:
            there = [file for file, stamp in zip(self._files, stamps, strict=True) if stamp is not None]
            readable = (found for file in there if (found := self._read(file)) is not None)
            self._found, self._stamps = next(readable, None), stamps
        return self._found

    def _read(self, file: Path) -> Calibration | None:
        try:
            found = read_calibration(file, self._manifest)
        except (BundleError, FileNotFoundError) as error:
            LOG.warning("search hits of %s/%d have no relevance: %s", *self._version(), error)
            return None
        for kind, one in found.maps.items():
            if one.ignored is None:
                LOG.info("search hits of %s/%d have a relevance for %s queries", *self._version(), kind)
            else:
                LOG.warning(
                    "search hits of %s/%d have no relevance for %s queries: %s",
                    *(*self._version(), kind, one.ignored),
                )
        return found

    def _version(self) -> tuple[str, int]:
        return self._manifest.name, self._manifest.version


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
