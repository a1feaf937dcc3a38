"""What a soak measured, second by second, in a file that grows as it comes; measures nothing itself."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ByStatus = dict[str, dict[str, int]]  # kind of request -> status, or what came instead of one -> how many


@dataclass(frozen=True)
class Counts:
    """What came of the requests that ended in one second."""

    good: ByStatus
    hostile: ByStatus
    ms: dict[str, dict[str, int]]  # kind of good request -> step of latency -> how many, without refusals
    n_failed: int = 0  # good requests that were not answered as they must be
    n_wrong: int = 0  # hostile ones that were not
    told: list[str] = field(default_factory=list)  # the first of both, in words
    lowest_cosine: float = 1.0  # of a vector to the one that its item had alone


@dataclass(frozen=True)
class Sample:
    """One second, or a little more. Processor seconds are those spent in it."""

    at_s: float  # its end, since the load began
    seconds: float
    resident: int
    server_cpu_s: float
    client_cpu_s: float
    queue_items: float
    ready: str  # empty, or what /readyz answered instead of 200
    ready_ms: float
    n_server_errors: float  # answers with 5xx since the server began, as it counts them itself
    data_bytes: int  # of the data folder
    counts: Counts


@dataclass(frozen=True)
class About:
    """What was run, where and when."""

    machine: str
    versions: str
    commit: str
    began_at: str  # ISO 8601, UTC
    command: str
    planned_s: float
    clients: int
    hostile_share: float
    prepared: str = ""  # what was done before the first second


@dataclass(frozen=True)
class End:
    """How it ended. `ended_by` is empty when it ran its time."""

    ended_by: str = ""
    lost: list[str] = field(default_factory=list)  # acknowledged writes that are not so at the end
    logged_errors: list[str] = field(default_factory=list)  # lines of the server's log


@dataclass(frozen=True)
class Run:
    """All of it; without an `end` the process was killed."""

    about: About
    samples: Sequence[Sample]
    end: End | None

    @property
    def seconds(self) -> float:
        """How long the load lasted."""
        return self.samples[-1].at_s if self.samples else 0.0

    def between(self, begin_s: float, end_s: float) -> list[Sample]:
        """The samples whose second ended in this time."""
        return [sample for sample in self.samples if begin_s < sample.at_s <= end_s]


class SampleFile:
    """One JSON object a line: what is run, the samples, how it ended."""

    def __init__(self, file: Path, about: About) -> None:
        """Replaces the file."""
        self._out = file.open("w", encoding="utf-8", buffering=1)  # a line is on its way when it is written
        self._write({"about": asdict(about)})

    def add(self, sample: Sample) -> None:
        """One more."""
        self._write({"sample": asdict(sample)})

    def close(self, end: End) -> None:
        """The last line."""
        self._write({"end": asdict(end)})
        self._out.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._out.write(json.dumps(line) + "\n")


def read_run(file: Path) -> Run:
    """What `SampleFile` wrote; a last line that was cut short is left out."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    about = next(About(**line["about"]) for line in lines if "about" in line)
    end = next((End(**line["end"]) for line in lines if "end" in line), None)
    return Run(about, [_sample(line["sample"]) for line in lines if "sample" in line], end)


def _sample(fields: dict[str, Any]) -> Sample:
    return Sample(**{**fields, "counts": Counts(**fields["counts"])})
