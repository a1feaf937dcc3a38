"""The bars that a soak has to clear, and what was measured; pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.soak.caller import MIN_COSINE
from benchmarks.soak.samples import Run, Sample
from benchmarks.soak.trend import Line, line

JUDGED_FROM_S = 300.0
JUDGED_FROM_SHARE = 0.25  # of shorter runs
MAX_GROWTH = 0.03


@dataclass(frozen=True)
class Verdict:
    """One bar."""

    what: str
    bound: str
    found: str
    met: bool

    def row(self) -> list[str]:
        return [self.what, self.bound, self.found, "yes" if self.met else "**no**"]


def verdicts(run: Run) -> list[Verdict]:
    """All bars."""
    return [*_answers(run), *_server(run), *_end(run)]


def judged_from_s(run: Run) -> float:
    """When the judged part of the memory's curve begins."""
    return min(JUDGED_FROM_S, JUDGED_FROM_SHARE * run.seconds)


def memory_line(run: Run) -> Line | None:
    """Resident bytes over the judged part; None when there is too little of it."""
    judged = run.between(judged_from_s(run), run.seconds)
    return line([sample.at_s for sample in judged], [sample.resident for sample in judged])


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def n_good(samples: Iterable[Sample]) -> int:
    """Good requests that were answered; those that were refused and asked again count once."""
    return sum(
        n
        for sample in samples
        for statuses in sample.counts.good.values()
        for status, n in statuses.items()
        if status != "429"
    )


def n_hostile(samples: Iterable[Sample]) -> int:
    """Hostile requests whose end was seen."""
    return sum(sum(found.values()) for sample in samples for found in sample.counts.hostile.values())


def n_refused(samples: Iterable[Sample]) -> int:
    """Good requests that were refused for the time being."""
    return sum(found.get("429", 0) for sample in samples for found in sample.counts.good.values())


def _answers(run: Run) -> Iterator[Verdict]:
    n_failed = sum(sample.counts.n_failed for sample in run.samples)
    n_wrong = sum(sample.counts.n_wrong for sample in run.samples)
    asked, hostile = n_good(run.samples), n_hostile(run.samples)
    yield Verdict("good requests that failed", "0", f"{n_failed:,} of {asked:,}", asked > 0 == n_failed)
    lowest = min((sample.counts.lowest_cosine for sample in run.samples), default=0.0)
    yield Verdict(
        "lowest cosine of a vector to the one its item had alone",
        f">= {MIN_COSINE}",
        f"{lowest:.7f}",
        lowest >= MIN_COSINE,
    )
    yield Verdict(
        "hostile requests not answered as they must be",
        "0",
        f"{n_wrong:,} of {hostile:,}",
        hostile > 0 == n_wrong,
    )
    n_errors = max(_n_5xx(run), _n_counted(run))
    yield Verdict("answers with 5xx", "0", f"{n_errors:,}", n_errors == 0)


def _server(run: Run) -> Iterator[Verdict]:
    n_unready = sum(bool(sample.ready) for sample in run.samples)
    asked = len(run.samples)
    yield Verdict(
        "`/readyz` other than 200, asked each second",
        "0",
        f"{n_unready} of {asked:,}",
        asked > 0 == n_unready,
    )
    begin, trend = clock(judged_from_s(run)), memory_line(run)
    yield Verdict(
        f"growth of resident memory from {begin} to {clock(run.seconds)}, by least squares",
        f"< {MAX_GROWTH:.0%}",
        "not measured" if trend is None else f"{trend.growth:+.2%}",
        trend is not None and trend.growth < MAX_GROWTH,
    )


def _end(run: Run) -> Iterator[Verdict]:
    if run.end is None:
        yield Verdict("the run came to its end", "yes", "it was killed", False)
        return
    if run.end.ended_by:
        yield Verdict("the run took its time", clock(run.about.planned_s), run.end.ended_by, False)
    n_lost, n_logged = len(run.end.lost), len(run.end.logged_errors)
    yield Verdict("acknowledged adds and deletes that are not so at the end", "0", str(n_lost), n_lost == 0)
    yield Verdict("errors in the server's log", "0", str(n_logged), n_logged == 0)


def _n_5xx(run: Run) -> int:
    """As the clients saw it."""
    return sum(
        n
        for sample in run.samples
        for found in (sample.counts.good, sample.counts.hostile)
        for statuses in found.values()
        for status, n in statuses.items()
        if status.startswith("5")
    )


def _n_counted(run: Run) -> int:
    """As the server counted it, for clients that were gone too."""
    counted = [sample.n_server_errors for sample in run.samples]
    return int(counted[-1] - counted[0]) if counted else 0
