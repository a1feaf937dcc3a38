"""Decode many damaged files in child processes and count what becomes of them.

`PYTHONPATH=tests python -m support.hostile.fuzzing 0 100000` prints the table. Formats may be named behind
the seeds: HEIC, whose decoder is an extra, is only tried then. A child that dies, or hangs, names the seed
that did it, and another one goes on behind it.
"""

import json
import mmap
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.bundle import decode
from diptych.bundle.image import ImageLimits, load_pixels, thumbnail
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InputError
from support.hostile.mutations import FORMATS, mutated

SPEC = ImageSpec(
    size=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    interpolation="bicubic",
    resize_mode="longest",
    crop="round",
    alpha="white",
)
LIMITS = ImageLimits(max_bytes=1_000_000, max_px=1_000_000)
THUMBNAIL_PX = 16
HANGS_AFTER_S = 15
MAX_MEMORY_BYTES = 4_000_000_000  # of address space
STEP = 2_000  # files between two reports of a child
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@dataclass
class Findings:
    """Counts per format and outcome; `reached` is the number of files whose pixels began to be decoded."""

    outcomes: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    reached: "Counter[str]" = field(default_factory=Counter)
    failures: list[str] = field(
        default_factory=list
    )  # what is neither pixels nor an InputError, and its seed
    peak_bytes: int = 0

    @property
    def n_files(self) -> int:
        return self.outcomes.total()

    def add(self, report: dict[str, Any]) -> None:
        """The report of a child."""
        self.outcomes += Counter({(form, name): n for form, name, n in report["outcomes"]})
        self.reached += Counter(report["reached"])
        self.failures += report["failures"]
        self.peak_bytes = max(self.peak_bytes, report["peak_bytes"])

    def table(self) -> str:
        """Markdown: one line a format, one column an outcome."""
        names = sorted({name for _, name in self.outcomes})
        head = ["format", "files", "reached pixels", *names]
        rows = [
            [form, sum(self.outcomes[form, name] for name in names), self.reached[form]]
            + [self.outcomes[form, name] for name in names]
            for form in dict.fromkeys(form for form, _ in sorted(self.outcomes, key=_place))
        ]
        total = ["all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))]
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows, total]
        return "\n".join(
            f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in line)} |"
            for line in lines
        )


def fuzz(
    first: int,
    last: int,
    *,
    formats: Sequence[str] = FORMATS,
    program: Sequence[str] = ("-m", "support.hostile.fuzzing"),
    hangs_after_s: float = HANGS_AFTER_S,
    is_told: bool = False,
) -> Findings:
    """Decode the files of the seeds from `first` up to `last`, without it."""
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        now = Path(folder, "seed")
        while first < last:
            now.write_bytes(first.to_bytes(8, "little"))
            command = [sys.executable, *program, "child", str(first), str(last), str(now), *formats]
            for report in _watched(command, now, hangs_after_s, findings):
                findings.add(report)
                first = report["next"]
                if is_told:
                    words = f"{first:,} of {last:,}, {len(findings.failures)} failures"
                    print(words, file=sys.stderr, flush=True)
            if first < last:  # the child did not come through: go on behind the seed it named
                first = _number_in(now) + 1
    return findings


def _watched(
    command: Sequence[str], now: Path, hangs_after_s: float, findings: Findings
) -> Iterator[dict[str, Any]]:
    """Reports of one child, which ends when it is through, dies or hangs; the latter two are failures."""
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, env=_ENVIRONMENT) as process,
    ):
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        seed, since, pending, has_hung = -1, time.monotonic(), b"", False
        while True:
            has_ended = process.poll() is not None
            read = process.stdout.read() or b""
            *lines, pending = (pending + read).split(b"\n")
            yield from map(json.loads, lines)
            if has_ended and not read:
                break
            if _number_in(now) != seed:
                seed, since = _number_in(now), time.monotonic()
            elif time.monotonic() - since > hangs_after_s and not has_hung:
                has_hung = True
                process.kill()
            time.sleep(0.02)
        told.seek(0)
        words = told.read()[-500:].decode(errors="replace")
    if has_hung:
        findings.failures.append(f"seed {_number_in(now)}: hangs")
    elif process.returncode:
        findings.failures.append(f"seed {_number_in(now)}: process ended with {process.returncode}: {words}")


def _place(outcome: tuple[str, str]) -> int:
    """Of its format in the table."""
    form, _ = outcome
    return FORMATS.index(form) if form in FORMATS else len(FORMATS)


def _number_in(file: Path) -> int:
    return int.from_bytes(file.read_bytes(), "little")


def child(first: int, last: int, shared: Path, formats: Sequence[str] = FORMATS) -> None:
    """Decode, and print a line of JSON for each step."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    with shared.open("r+b") as file, mmap.mmap(file.fileno(), 8) as now:
        for start in range(first, last, STEP):
            end = min(start + STEP, last)
            print(json.dumps({**_step(range(start, end), now, formats), "next": end}), flush=True)


def _step(seeds: range, now: mmap.mmap, formats: Sequence[str]) -> dict[str, Any]:
    outcomes: Counter[tuple[str, str]] = Counter()
    reached: Counter[str] = Counter()
    failures = []
    for seed in seeds:
        now[:] = seed.to_bytes(8, "little")
        form, file = mutated(seed, formats)
        try:
            name, has_reached = outcome(file)
        except Exception:
            failures.append(f"seed {seed}, {form}: {traceback.format_exc(limit=-3)}")
            name, has_reached = "failure", False
        outcomes[form, name] += 1
        reached[form] += has_reached
    return {
        "outcomes": [[*key, n] for key, n in outcomes.items()],
        "reached": reached,
        "failures": failures,
        "peak_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    """Of this process alone: what getrusage says begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def outcome(file: bytes) -> tuple[str, bool]:
    """(`pixels` or the class of the InputError, whether pixels began to be decoded); all else is raised."""
    with _Watch() as watch:
        name = _named(lambda: load_pixels(file, SPEC, LIMITS))
    fast = _named(lambda: load_pixels(file, SPEC, LIMITS, "fast"))
    small = _named(lambda: thumbnail(file, LIMITS, THUMBNAIL_PX))
    assert name == small, f"{name} as pixels, {small} as thumbnail"
    assert name == fast or "pixels" in {name, fast}, f"{name} exactly, {fast} fast"
    return name, watch.has_reached


def _named(work: Callable[[], object]) -> str:
    try:
        work()
    except InputError as error:
        assert error.message
        return type(error).__name__
    return "pixels"


class _Watch:
    """Sees whether a file passes the last check before its pixels are decoded."""

    has_reached = False

    def __enter__(self) -> "_Watch":
        self._check = decode.check_opened
        decode.check_opened = self._checked
        return self

    def __exit__(self, *_: object) -> None:
        decode.check_opened = self._check

    def _checked(self, *given: Any) -> None:
        self._check(*given)
        self.has_reached = True


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
    else:
        found = fuzz(int(sys.argv[1]), int(sys.argv[2]), formats=sys.argv[3:] or FORMATS, is_told=True)
        print(found.table())
        print(
            f"{found.n_files:,} files, {found.reached.total() / found.n_files:.0%} reached pixels", end=", "
        )
        print(f"peak {found.peak_bytes / 1e6:.0f} MB, {len(found.failures)} failures")
        print("\n".join(found.failures[:20]))
