"""What `make bench-rollout` saw of one run, and its tables and figure."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.load import percentile
from benchmarks.report import Verdict, none_of, table

PHASES = ("before", "during", "after")
KINDS = ("search", "embed")
MAX_SLOWER = 2.0
N_SLICES = 120  # of the time axis
COLOURS = {"search": "#12507b", "embed": "#b3541e"}
N_COLOURS = 64  # a figure of few colours is a small file


@dataclass(frozen=True)
class Span:
    """One good request."""

    kind: str
    began: float
    ended: float
    version: int

    @property
    def ms(self) -> float:
        """The latency."""
        return 1000 * (self.ended - self.began)


@dataclass(frozen=True)
class Sample:
    """What the server told of itself at one time."""

    at: float
    resident_mb: float
    n_embedded: int | None = None  # of the rollout
    state: str | None = None


@dataclass
class Record:
    """All that was seen of one run. `quiet` are the times in which no client sent."""

    n_images: int
    spans: list[Span] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    n_back: int = 0  # answers of the former version after one of the new, to the same client
    phases: dict[str, tuple[float, float]] = field(default_factory=dict)  # when each began and ended
    quiet: list[tuple[float, float]] = field(default_factory=list)
    precisions: list[str] = field(default_factory=list)  # in which `/embed` was answered, before and after

    def of(self, phase: str, kind: str | None = None) -> list[Span]:
        """Requests that ended in a phase."""
        begin, end = self.phases[phase]
        return [one for one in self.spans if begin <= one.ended < end and kind in {None, one.kind}]

    def latencies(self, phase: str, kind: str) -> list[float]:
        """Sorted, in ms."""
        return sorted(one.ms for one in self.of(phase, kind))

    def memory(self, phase: str) -> float:
        """The most, in MB."""
        begin, end = self.phases[phase]
        return max((one.resident_mb for one in self.samples if begin <= one.at < end), default=float("nan"))

    def is_quiet(self, at: float) -> bool:
        """Whether no client sent at this time."""
        return any(begin <= at < end for begin, end in self.quiet)

    def loaded_s(self, phase: str) -> float:
        """How long clients sent in a phase."""
        begin, end = self.phases[phase]
        return end - begin - sum(max(0.0, min(end, to) - max(begin, at)) for at, to in self.quiet)

    def embedded_per_s(self, *, quiet: bool) -> float:
        """Images embedded a second while clients sent, or while none did; NaN if that never was."""
        found = [one for one in self.samples if one.state == "embedding" and one.n_embedded is not None]
        steps = [(a, b) for a, b in pairwise(found) if self.is_quiet(a.at) == self.is_quiet(b.at) == quiet]
        lasted = sum(b.at - a.at for a, b in steps)
        n = sum((b.n_embedded or 0) - (a.n_embedded or 0) for a, b in steps)
        return n / lasted if lasted else float("nan")


def phases_table(record: Record) -> str:
    """One row for each phase."""
    rows = []
    for phase in PHASES:
        begin, end = record.phases[phase]
        cells = [f"{len(record.of(phase)) / record.loaded_s(phase):,.0f}"]
        for kind in KINDS:
            ms = record.latencies(phase, kind)
            cells += [f"{percentile(ms, 0.5):.1f}", f"{percentile(ms, 0.99):.1f}"]
        rows.append([f"{phase} ({end - begin:,.0f} s)", *cells, f"{record.memory(phase):,.0f}"])
    latencies = [f"{kind} {which}, ms" for kind in KINDS for which in ("p50", "p99")]
    return table(["the rollout", "requests/s", *latencies, "memory, most, MB"], rows)


def rollout_table(record: Record) -> str:
    """How long it took, and how fast images were embedded."""
    begin, end = record.phases["during"]
    loaded, quiet = (record.embedded_per_s(quiet=quiet) for quiet in (False, True))
    rows = [
        ["from activating to active, s", f"{end - begin:,.0f}"],
        ["of these under load, s", f"{record.loaded_s('during'):,.0f}"],
        ["images embedded again a second, under load", f"{loaded:,.0f}"],
        ["the same while no request comes", f"{quiet:,.0f}"],
        ["requests in all", f"{len(record.spans) + len(record.failures):,}"],
    ]
    return table(["what", "found"], rows)


def verdicts_of(record: Record) -> Iterator[Verdict]:
    """Nothing failed, nothing went back, and requests were at most twice as slow in the median."""
    for kind in KINDS:
        before, during = (percentile(record.latencies(phase, kind), 0.5) for phase in PHASES[:2])
        times = during / before
        yield Verdict(
            f"p50 of {kind} during over before", f"<= {MAX_SLOWER:g}", f"{times:.2f}", times <= MAX_SLOWER
        )
    yield none_of("requests that failed", len(record.failures))
    yield none_of("answers of the former version after one of the new, to one client", record.n_back)


def drawn(record: Record) -> bytes:
    """A PNG of latency, requests, images embedded and memory over time; activated at 0."""
    figure = Figure(figsize=(9, 9.5), layout="constrained")
    latency, requests, images, memory = figure.subplots(4, 1, sharex=True)
    zero, active = record.phases["during"]
    for axes, title in (
        (latency, "latency, ms: p50, and p99 thin"),
        (requests, "requests a second"),
        (images, "images with a vector of the new version"),
        (memory, "memory of the server, MB"),
    ):
        axes.set_title(title, fontsize=10, loc="left")
        axes.axvspan(0, active - zero, color="#dfe7dd", linewidth=0)
        axes.grid(alpha=0.3)
    _draw_requests(record, latency, requests)
    done = [(one.at - zero, one.n_embedded) for one in record.samples if one.n_embedded is not None]
    images.plot(*zip(*done, strict=True), color="#3d6b35")
    memory.plot(
        *zip(*[(one.at - zero, one.resident_mb) for one in record.samples], strict=True), color="#444"
    )
    for axes in (requests, images, memory):
        axes.set_ylim(bottom=0)
    memory.set_xlabel("seconds since the version was activated; shaded until it is active")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return _smaller(png)


def _draw_requests(record: Record, latency: Axes, requests: Axes) -> None:
    zero = record.phases["during"][0]
    edges = np.linspace(record.phases["before"][0], record.phases["after"][1], N_SLICES + 1)
    middles = (edges[:-1] + edges[1:]) / 2 - zero
    for kind in KINDS:
        found = [_within(record, kind, begin, end) for begin, end in pairwise(edges)]
        for share, width, label in ((0.5, 1.6, kind), (0.99, 0.6, None)):
            ms = [percentile(one, share) for one in found]
            latency.plot(middles, ms, color=COLOURS[kind], linewidth=width, label=label)
        per_s = [len(one) / (edges[1] - edges[0]) for one in found]
        requests.plot(middles, per_s, color=COLOURS[kind], label=kind)
    latency.set_yscale("log")
    latency.legend(fontsize=8)
    requests.legend(fontsize=8)


def _within(record: Record, kind: str, begin: float, end: float) -> Sequence[float]:
    return sorted(one.ms for one in record.spans if one.kind == kind and begin <= one.ended < end)


def _smaller(png: io.BytesIO) -> bytes:
    small = io.BytesIO()
    Image.open(png).convert("RGB").quantize(N_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()
