"""Keeps measurements in a file, so that only the first start on a machine has to measure."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from diptych.adapters.files.private_files import make_new, narrow
from diptych.durable import write_durably

Measured = TypeVar("Measured")

LOG = logging.getLogger("diptych.plan")


class PlanFile:
    """Measurements by key. A file that cannot be read or written counts as empty."""

    def __init__(
        self, file: Path, before_measuring: Callable[[], None] = lambda: None, *, read_only: bool = False
    ) -> None:
        """`before_measuring` waits for what would disturb a measurement. Called for each that is missing."""
        self._file = file
        self._before_measuring = before_measuring
        self._read_only = read_only
        if not read_only:
            narrow(file)

    def get(self, key: str, kind: type[Measured]) -> Measured | None:
        """The measurement of an earlier start; None if there is none, so that it is measured now."""
        found = self.known(key, kind)
        if found is None:
            self._before_measuring()
        return found

    def known(self, key: str, kind: type[Measured]) -> Measured | None:
        """The measurement of an earlier start; None if there is none, or if it is not a `kind`."""
        try:
            return TypeAdapter(kind).validate_python(self._read()[key])
        except (KeyError, ValueError):
            return None

    def put(self, key: str, measured: object) -> None:
        """Keep a measurement for the next start, unless the file is only read."""
        if self._read_only:
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content = TypeAdapter(dict[str, Any]).dump_json({**self._read(), key: measured}, indent=1)
            unfinished = self._file.with_suffix(".tmp")
            make_new(unfinished)
            write_durably(unfinished, content)
            unfinished.replace(self._file)
        except OSError as error:
            LOG.warning("measurements are not kept: %s", error.strerror)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):  # RecursionError: for thousands of open brackets
            return {}
        return known if isinstance(known, dict) else {}
