"""Reads the calibration of a version, again whenever one of its files has changed."""

import logging
from collections.abc import Iterator
from pathlib import Path

from diptych.bundle.calibration import Calibration, read_calibration
from diptych.bundle.manifest import Manifest
from diptych.errors import BundleError

LOG = logging.getLogger("diptych.calibration")
Stamp = tuple[int, int, int]  # inode, bytes and time of change of a file
Message = tuple[int, str]  # level and text of a line of the log


class CalibrationReader:
    """Call it from any one thread at a time. Blocking; it costs little while the files stay the same.

    The file in the model repository counts; if it is missing or cannot be used, its copy in the data folder.
    The log says so once.
    """

    def __init__(self, file: Path, copy: Path, manifest: Manifest) -> None:
        """The files need not exist."""
        self._file, self._copy = file, copy
        self._manifest = manifest
        self._version = f"{manifest.name}/{manifest.version}"
        self._stamps: tuple[Stamp | None, ...] = (None, None)
        self._found: Calibration | None = None
        self._logged: list[Message] = []

    def __call__(self) -> Calibration | None:
        """The calibration of the version; None if there is none."""
        stamps = _stamp(self._file), _stamp(self._copy)
        if stamps != self._stamps:
            self._found, messages = self._read()
            for level, text in messages:
                if (level, text) not in self._logged:
                    LOG.log(level, "%s", text)
            self._stamps, self._logged = stamps, messages
        return self._found

    def _read(self) -> tuple[Calibration | None, list[Message]]:
        found, error = self._read_one(self._file)
        if found is not None:
            return found, [*self._reliability(found)]
        found, error_of_copy = self._read_one(self._copy)
        if found is not None:
            return found, [self._use_of_copy(error), *self._reliability(found)]
        errors = "; ".join(filter(None, (error, error_of_copy)))
        hits = f"search hits of {self._version} have no relevance"
        return None, [(logging.WARNING, f"{hits}: {errors}")] if errors else []

    def _read_one(self, file: Path) -> tuple[Calibration | None, str | None]:
        """The calibration in the file, or why it cannot be used; neither if there is no file."""
        try:
            return read_calibration(file, self._manifest), None
        except FileNotFoundError:
            return None, None
        except BundleError as error:
            return None, str(error)

    def _use_of_copy(self, error: str | None) -> Message:
        reason = error or "the model repository has none"
        text = f"the calibration of {self._version} is read from its copy in the data folder: {reason}"
        return logging.WARNING if error else logging.INFO, text

    def _reliability(self, found: Calibration) -> Iterator[Message]:
        hits = f"search hits of {self._version}"
        if reliable := [kind for kind, one in found.maps.items() if one.ignored is None]:
            yield logging.INFO, f"{hits} have a relevance for {' and '.join(reliable)} queries"
        for kind, one in found.maps.items():
            if one.ignored is not None:
                yield logging.WARNING, f"{hits} have no relevance for {kind} queries: {one.ignored}"


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
