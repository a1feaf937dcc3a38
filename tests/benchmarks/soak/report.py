"""A whole soak as one Markdown text; pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from benchmarks.soak.samples import Run, Sample
from benchmarks.soak.steps import percentile_ms, together
from benchmarks.soak.verdicts import (
    clock,
    judged_from_s,
    memory_line,
    n_good,
    n_hostile,
    n_refused,
    verdicts,
)
from diptych_training.evaluate.table import markdown_table

MARKS = "soak"
NEAR_S = 30.0  # seconds over which memory at one time is the mean
TOLD = 20

Figure = Callable[[Sequence[Sample]], str]


def report(run: Run) -> str:
    """Everything that was measured so far."""
    sections = [
        _conditions(run),
        verdicts_table(run),
        thirds_table(run),
        _memory(run),
        kinds_table(run),
        _told(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def verdicts_table(run: Run) -> str:
    """The bars."""
    return markdown_table(["bar", "bound", "found", "met"], [one.row() for one in verdicts(run)])


def thirds_table(run: Run) -> str:
    """Whether the end was as the beginning."""
    third = run.seconds / 3
    parts = [run.between(0, third), run.between(2 * third, run.seconds), list(run.samples)]
    rows = [[name, *(figure(part) if part else "-" for part in parts)] for name, figure in FIGURES.items()]
    return markdown_table(["", "first third", "last third", "whole"], rows)


def kinds_table(run: Run) -> str:
    """Every kind of request, what it was answered with, and how long that took."""
    good = _by_kind(sample.counts.good for sample in run.samples)
    hostile = _by_kind(sample.counts.hostile for sample in run.samples)
    rows = [[kind, f"{sum(found.values()):,}", _p(run, kind, 0.5), _p(run, kind, 0.99), _statuses(found)]
            for kind, found in sorted(good.items())]  # fmt: skip
    rows += [
        [f"hostile: {kind}", f"{sum(found.values()):,}", "", "", _statuses(found)]
        for kind, found in sorted(hostile.items())
    ]
    return markdown_table(["requests", "number", "p50 ms", "p99 ms", "status: number"], rows)


def _conditions(run: Run) -> str:
    about = run.about
    lasted = f"{run.seconds / 60:.1f} minutes"
    if run.end is None or run.end.ended_by:
        lasted += f" of {about.planned_s / 60:g}"
    hostile = n_hostile(run.samples)
    share = hostile / max(1, hostile + n_good(run.samples))
    return (
        f"{about.machine}. {about.versions}. {about.began_at[:10]}, commit {about.commit}. "
        f"`{about.command}`: {lasted} of {about.clients} clients, each with one request at a time; "
        f"{share:.1%} of all requests hostile. {about.prepared}"
    ).strip()


def _memory(run: Run) -> str:
    trend = memory_line(run)
    if trend is None:
        return ""
    begin_s = judged_from_s(run)
    most = max(sample.resident for sample in run.samples)
    first, last = run.between(begin_s, begin_s + NEAR_S), run.between(run.seconds - NEAR_S, run.seconds)
    begin, end = clock(begin_s), clock(run.seconds)
    return (
        f"Resident memory: {_mb(first):.0f} MB at {begin}, {_mb(last):.0f} MB at {end} (means of "
        f"{NEAR_S:.0f} s), at most {most / 1e6:.0f} MB. The line through all seconds from {begin} on has a "
        f"slope of {trend.per_hour / 1e6:+.1f} MB an hour, {trend.growth:+.2%} until the end. Data folder: "
        f"{_disk_mb(run, begin_s):.0f} MB at {begin}, {_disk_mb(run, run.seconds):.0f} MB at {end}."
    )


def _told(run: Run) -> str:
    """What went wrong, in words; nothing when nothing did."""
    told = [words for sample in run.samples for words in sample.counts.told]
    told += [f"not ready at {clock(sample.at_s)}: {sample.ready}" for sample in run.samples if sample.ready]
    if run.end is not None:
        told += [f"lost: {words}" for words in run.end.lost]
        told += [f"logged: {words}" for words in run.end.logged_errors]
    if not told:
        return ""
    more = [f"and {len(told) - TOLD:,} more"] if len(told) > TOLD else []
    return "\n".join(["What went wrong:", "", "```", *told[:TOLD], *more, "```"])


def _by_kind(counts: Iterable[dict[str, dict[str, int]]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for one in counts:
        for kind, statuses in one.items():
            found.setdefault(kind, Counter()).update(statuses)
    return found


def _statuses(found: Counter[str]) -> str:
    return ", ".join(f"{status}: {n:,}" for status, n in sorted(found.items()))


def _p(run: Run, kind: str, share: float) -> str:
    steps = together(sample.counts.ms[kind] for sample in run.samples if kind in sample.counts.ms)
    return _ms(percentile_ms(steps, share))


def _ms(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:,.0f}"


def _mb(samples: Sequence[Sample]) -> float:
    return sum(sample.resident for sample in samples) / max(1, len(samples)) / 1e6


def _disk_mb(run: Run, at_s: float) -> float:
    return max(run.between(0, at_s) or run.samples, key=lambda sample: sample.at_s).data_bytes / 1e6


def _seconds(samples: Sequence[Sample]) -> float:
    return sum(sample.seconds for sample in samples)


def _percentile(samples: Sequence[Sample], share: float) -> str:
    return _ms(percentile_ms(together(steps for one in samples for steps in one.counts.ms.values()), share))


FIGURES: dict[str, Figure] = {
    "good requests/s": lambda samples: f"{n_good(samples) / _seconds(samples):.1f}",
    "hostile requests/s": lambda samples: f"{n_hostile(samples) / _seconds(samples):.1f}",
    "p50 of good ones, ms": lambda samples: _percentile(samples, 0.5),
    "p99 of good ones, ms": lambda samples: _percentile(samples, 0.99),
    "refused with 429, then answered": lambda samples: f"{n_refused(samples):,}",
    "cores, server": lambda samples: f"{sum(s.server_cpu_s for s in samples) / _seconds(samples):.2f}",
    "cores, clients": lambda samples: f"{sum(s.client_cpu_s for s in samples) / _seconds(samples):.2f}",
    "items that wait for an encoder": lambda s: f"{sum(one.queue_items for one in s) / len(s):.1f}",
    "`/readyz`, p99 ms": lambda s: f"{sorted(one.ready_ms for one in s)[int(0.99 * (len(s) - 1))]:.0f}",
}
