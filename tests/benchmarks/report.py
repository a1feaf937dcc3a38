"""The report writer: conditions of a measurement, tables in Markdown, and where they are kept."""

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.servers import REPOSITORY

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = ("onnxruntime", "torch", "transformers", "numpy", "pillow", "fastapi", "uvicorn", "uvloop")
N_DIGITS = 8


@dataclass(frozen=True)
class Verdict:
    """One bar, and whether what was found meets it."""

    what: str
    bound: str
    found: str
    met: bool


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is words and whose other columns are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    """All bars."""
    rows = [[one.what, one.bound, one.found, "yes" if one.met else "**no**"] for one in verdicts]
    return table(["bar", "bound", "found", "met"], rows)


def none_of(what: str, n_found: int, of: int | None = None) -> Verdict:
    """Nothing of the kind, and of at least one that could have been."""
    found = f"{n_found:,}" if of is None else f"{n_found:,} of {of:,}"
    return Verdict(what, "0", found, n_found == 0 and of != 0)


def parser(doc: str | None, *, quick: str = "") -> argparse.ArgumentParser:
    """The flags that all programs have; `quick` says what is less with --quick."""
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    if quick:
        found.add_argument("--quick", action="store_true", help=f"{quick}: to try the benchmark")
    found.add_argument("--write", type=_file, metavar="FILE", help="put the report between the file's marks")
    return found


def _file(name: str) -> Path:
    """A file that is there: to know that it is not, hours later, would lose the figures."""
    file = Path(name)
    if not file.is_file():
        raise argparse.ArgumentTypeError(f"{name} is no file")
    return file


def run(main: Callable[[], int]) -> None:
    """End this program with the status of `main`."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")


def conditions(command: str) -> str:
    """Command, day, commit, machine and releases, as one paragraph."""
    return f"`{command}`, {datetime.now(UTC).date()}, commit {commit()}. {machine()}. {versions()}."


def command_line(target: str, variable: str) -> str:
    """The `make` command that stands for this run's arguments, but for where they are written."""
    words = " ".join(f'"{word}"' if " " in word else word for word in sys.argv[1:])
    return f"make {target} {variable}='{words}'" if words else f"make {target}"


class OtherPrograms:
    """What other programs take of the processors while this process and its children work."""

    def __init__(self) -> None:
        self._began, self._busy_s, self._own_s = time.monotonic(), _busy_seconds(), sum(os.times()[:4])

    def said(self) -> str:
        """Their share since the beginning, as a sentence. Children that still run count as others."""
        seconds = max(time.monotonic() - self._began, 0.001) * (os.cpu_count() or 1)
        own_s = sum(os.times()[:4]) - self._own_s
        share = max(0.0, _busy_seconds() - self._busy_s - own_s) / seconds
        return f"Other programs took {share:.0%} of the processors meanwhile."


def machine() -> str:
    """Processor, cores that this process may use, and what matters to matrix products."""
    fields = _cpu_fields()
    flags = set(fields.get("flags", "").split())
    known = ", ".join(flag for flag in CPU_FLAGS if flag in flags) or "none of the known vector extensions"
    name = fields.get("model name", platform.processor() or "unknown processor")
    return f"{name}, {len(os.sched_getaffinity(0))} cores; {known}; {platform.system()} {platform.machine()}"


def versions(packages: Sequence[str] = PACKAGES) -> str:
    """Of Python and the packages in this environment."""
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]
    )


def commit(checkout: Path = REPOSITORY) -> str:
    """Of a checkout; with `+` and a hash of what was changed since in files of git, documents aside."""
    try:
        name = _git(checkout, "rev-parse", "--short", "HEAD")
        changes = _git(checkout, "diff", "HEAD", "--", ".", ":(exclude)*.md")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}+{hashlib.sha256(changes.encode()).hexdigest()[:N_DIGITS]}" if changes else name


def between_marks(old: str, text: str, name: str, marks: str) -> str:
    """`old` with `text` between the marks. Raises SystemExit when they are not there."""
    first, last = f"<!-- {marks}:begin -->", f"<!-- {marks}:end -->"
    before, begin, rest = old.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{name} has no {first} followed by {last}")
    return f"{before}{first}\n{text.strip()}\n{last}{after}"


def finish(text: str, file: Path | None, marks: str) -> None:
    """Print the report, and keep it in a file where one is named."""
    print(text)
    if file is not None:
        old = file.read_text(encoding="utf-8")
        file.write_text(between_marks(old, text, str(file), marks), encoding="utf-8")


def say(line: str) -> None:
    """A line of progress."""
    print(f"[{datetime.now():%H:%M:%S}] {line}", file=sys.stderr, flush=True)


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout.strip()


def _busy_seconds() -> float:
    """Processor seconds of all programs since the boot; 0 where Linux does not tell."""
    try:
        words = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
    except FileNotFoundError:
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, words[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _cpu_fields() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except FileNotFoundError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
