"""Reads the calibration file of a version, again whenever its file has changed."""

import logging
from pathlib import Path

from diptych.bundle.calibration import Calibration, read_calibration
from diptych.bundle.manifest import Manifest
from diptych.errors import BundleError

LOG = logging.getLogger("diptych.calibration")


class CalibrationReader:
    """Call it from any one thread at a time. Blocking; it costs little while the file stays the same.

    A file that cannot be used counts as missing. The log says why, once.
    """

    def __init__(self, file: Path, manifest: Manifest) -> None:
        self._file = file
        self._manifest = manifest
        self._stamp: tuple[int, int, int] | None = None  # inode, bytes and time of change of the file
        self._found: Calibration | None = None

    def __call__(self) -> Calibration | None:
        """The calibration of the version; None if there is none."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._found, self._stamp = None if stamp is None else self._read(), stamp
        return self._found

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> Calibration | None:
        try:
            found = read_calibration(self._file, self._manifest)
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
