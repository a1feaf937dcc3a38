"""One thing that was found, and how it comes from the process of its tier; knows no tier."""

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal[
    "limit", "memory", "made", "parity", "rate", "training", "serving", "search", "absent", "failed"
]
MARK = "finding "  # what lines of a tier's standard output that are findings begin with


@dataclass(frozen=True)
class Finding:
    """`ok` is None where nothing was judged; `note` says why something is absent, or how it was measured."""

    tier: str
    kind: Kind
    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    ok: bool | None = None
    note: str = ""

    @property
    def is_failure(self) -> bool:
        """Absence is none."""
        return self.ok is False

    def spelled(self) -> str:
        """One line for a person."""
        figures = ", ".join(f"{name} {_short(value)}" for name, value in self.figures.items())
        verdict = {None: "", True: " [passed]", False: " [FAILED]"}[self.ok]
        return f"{self.tier}: {self.kind} {self.name}{verdict} " + "; ".join(
            filter(None, [figures, self.note])
        )


def tell(finding: Finding) -> None:
    """To whoever started this process, at once: what comes later may end it."""
    print(MARK + json.dumps(asdict(finding)), flush=True)


def heard(line: str) -> Finding | None:
    """The other side of `tell`; None for what a library printed."""
    return Finding(**json.loads(line.removeprefix(MARK))) if line.startswith(MARK) else None


def absent(tier: str, name: str, reason: str) -> Finding:
    """What is not here cannot be measured; that is no failure."""
    return Finding(tier, "absent", name, note=reason)


def failed(tier: str, name: str, error: BaseException | str) -> Finding:
    """What was to be measured, and was not."""
    told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return Finding(tier, "failed", name, ok=False, note=" ".join(told.split())[:600])


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
