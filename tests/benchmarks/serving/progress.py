"""What is still to be measured, and about how long that takes; measures nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving.bench import Bench


@dataclass(frozen=True)
class Cost:
    """Seconds on two cores: what starts, loads and warms, and how many windows' lengths are measured."""

    fixed_s: float
    windows: float

    def seconds(self, window_s: float) -> float:
        """With windows of this length."""
        return self.fixed_s + self.windows * window_s


NONE = Cost(0, 0)


@dataclass(frozen=True)
class Part:
    """One part of a run; it costs `each` in every round, and `once` more in the first."""

    measure: Callable[[Bench, int], None]
    each: Cost = NONE
    once: Cost = NONE

    def seconds(self, number: int, window_s: float) -> float:
        """In round `number`, from 0."""
        return self.each.seconds(window_s) + (0 if number else self.once.seconds(window_s))


def progress(
    steps: Sequence[tuple[int, str]], parts: Mapping[str, Part], window_s: float, rounds: int
) -> str:
    """Of (round, part) the first is begun, the others are to come."""
    (number, name), *rest = steps
    left_s = sum(parts[one].seconds(n, window_s) for n, one in steps)
    by_round = {n: [one for m, one in rest if m == n] for n in dict.fromkeys(n for n, _ in rest)}
    to_come = "; ".join(f"round {n + 1}: {', '.join(names)}" for n, names in by_round.items())
    return (
        f"round {number + 1} of {rounds}: {name}; then {to_come or 'the report'}; about "
        f"{left_s / 60:.0f} min left on two cores, less what is kept, more where a model is imported"
    )
