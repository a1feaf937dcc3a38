"""What every part of the benchmark gets: how long, how often, where results go. Measures nothing."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving.machine import commit
from benchmarks.serving.store import Figures, Store


@dataclass(frozen=True)
class Bench:
    """`seconds` of one window, `rounds` in which all variants take turns."""

    store: Store
    seconds: float
    rounds: int
    precisions: Sequence[str] = ("fp32", "int8")
    decodes: Sequence[str] = ("exact", "fast")
    rivals: Sequence[str] = ("infinity", "transformers")
    clients: Sequence[int] = (1, 8, 32, 64)
    text_clients: Sequence[int] = (1, 32)
    commit: str = field(default_factory=commit)  # when it began
    left_out: dict[str, str] = field(default_factory=dict)  # rivals that failed in this run, and why
    began: float = field(default_factory=time.monotonic)

    @property
    def warm_s(self) -> float:
        """Before each window; every connection has had an answer by then in any case."""
        return min(2.0, self.seconds / 4)

    def measure(self, measure: Callable[[], Figures], **parameters: Any) -> Figures:
        """Once for these parameters and this length of a window, with a line that says what it was."""
        parameters = {**parameters, "seconds": self.seconds}
        kept = self.store.get(**parameters)
        figures = self.store.put(measure(), **parameters) if kept is None else kept
        self.say(f"{_spell(parameters)}: {_spell(figures)}{' (kept)' if kept is not None else ''}")
        return figures

    def has(self, **parameters: Any) -> bool:
        """Whether it was measured."""
        return self.store.get(**parameters, seconds=self.seconds) is not None

    def say(self, line: str) -> None:
        """A line of progress."""
        print(f"[{time.monotonic() - self.began:6.0f} s] {line}", file=sys.stderr, flush=True)


def _spell(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {_short(value)}" for name, value in values.items() if not isinstance(value, dict | list)
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
