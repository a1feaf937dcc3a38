"""Finished measurements in one JSON file, so that an interrupted run goes on; knows no kind of them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Parameters = dict[str, Any]
Figures = dict[str, Any]


class Store:
    """Figures by their parameters, all of which must be JSON's own kinds. Written after each one.

    Only what was measured under the same conditions counts, so that no figure is ever told under conditions
    that were not its own: those of another commit, machine or release stay in the file, and are not seen.
    """

    def __init__(self, file: Path, conditions: str, *, fresh: bool = False) -> None:
        self._file = file
        self._conditions = conditions
        self._kept: dict[str, dict[str, Any]] = {}
        self._others: list[dict[str, Any]] = []
        for entry in _entries(file):
            if entry["conditions"] != conditions:
                self._others.append(entry)
            elif not fresh:
                self._kept[_key(entry["parameters"])] = entry

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured under these conditions."""
        return not self._kept

    def get(self, **parameters: Any) -> Figures | None:
        """None when it was not measured yet."""
        entry = self._kept.get(_key(parameters))
        return None if entry is None else entry["figures"]

    def put(self, figures: Figures, **parameters: Any) -> Figures:
        """Keep, replacing what was measured with the same parameters."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._kept[_key(parameters)] = {
            "parameters": parameters,
            "figures": figures,
            "measured_at": at,
            "conditions": self._conditions,
        }
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps([*self._others, *self._kept.values()], indent=1), encoding="utf-8")
        part.replace(self._file)
        return figures

    def all(self, **wanted: Any) -> Iterator[tuple[Parameters, Figures]]:
        """Everything whose parameters agree with those that are named."""
        for entry in self._kept.values():
            parameters = entry["parameters"]
            if all(parameters.get(name) == value for name, value in wanted.items()):
                yield parameters, entry["figures"]

    def days(self) -> tuple[str, str]:
        """The first and the last day on which something was measured; today when nothing was."""
        days = sorted(entry["measured_at"][:10] for entry in self._kept.values())
        return (days[0], days[-1]) if days else (datetime.now(UTC).date().isoformat(),) * 2


def _entries(file: Path) -> list[dict[str, Any]]:
    """All of the file, whatever their conditions; earlier releases wrote them as a dictionary."""
    if not file.exists():
        return []
    kept = json.loads(file.read_text(encoding="utf-8"))
    return list(kept.values() if isinstance(kept, dict) else kept)


def _key(parameters: Parameters) -> str:
    return json.dumps(parameters, sort_keys=True)
