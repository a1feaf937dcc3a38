"""`make gpu-check`: proves every way to run on this machine's card, and measures it; under eight minutes.

    PYTHONPATH=tests python -m benchmarks.gpu_check [--quick] [--tiers TIER,...] [--write FILE]

Nothing is fetched or installed: what this environment has is measured, the rest is said to be absent.
Every tier is a process of its own, and every finding is printed and kept as it comes. Ends with 0 unless
something that could be measured failed; 0 too where there is no card, with a list that says so.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu_check import card
from benchmarks.gpu_check.findings import Finding, failed, heard, say
from benchmarks.gpu_check.report import Conditions, as_json, as_markdown
from benchmarks.gpu_check.tiers import TIERS, Task
from benchmarks.serving.machine import commit, machine
from benchmarks.serving.marks import write_between_marks
from benchmarks.serving.places import REPOSITORY, in_cache

MARKS = "gpu-check"
MINUTES = 7.75  # in all
STOPS_WITHIN_S = 45.0  # of these, for what is told to stop
SOURCES = ("tests", "server/src", "training/src", "clients/python/src")


def main() -> int:
    args = _parser().parse_args()
    if args.write is not None and args.device == "cpu":
        raise SystemExit("--write is for a card: the figures of a dry run say nothing")
    began, findings = time.monotonic(), list[Finding]()
    target = args.out or in_cache("gpu-check")
    target.mkdir(parents=True, exist_ok=True)
    names = [name for name in TIERS if name in args.tiers]
    with tempfile.TemporaryDirectory(prefix="diptych-gpu-check-") as folder:
        scale = "dry" if args.device == "cpu" else "quick" if args.quick else "full"
        task = Task(args.device, scale, str(args.keep or folder), until(args.minutes, time.time()))
        for name in names:
            for finding in _tier(name, task):
                say(f"[{time.monotonic() - began:4.0f} s] {finding.spelled()}")
                findings.append(finding)
                text = _keep(target, _conditions(args, time.monotonic() - began), findings)
    print(text)
    say(f"kept in {target}")
    if args.write is not None:
        write_between_marks(args.write, text, MARKS)
    is_lacking = any(one.kind == "absent" and one.name in args.require for one in findings)
    return 1 if is_lacking or any(finding.is_failure for finding in findings) else 0


def until(minutes: float, now: float) -> float:
    """When the tiers are told to stop, so that all has ended after so many `minutes`."""
    return now + 60 * minutes - STOPS_WITHIN_S


def _tier(name: str, task: Task) -> Iterator[Finding]:
    """What its process tells, and how that ended if it did not end well."""
    left = task.until - time.time()
    if left <= 0:
        yield failed(name, name, "the time was up before it began")
        return
    paths = [*(str(REPOSITORY / source) for source in SOURCES), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu_check.tiers", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # Asked first, so that it stops its server; a call that never comes back from a library hears nothing.
    timers = [threading.Timer(left, process.terminate), threading.Timer(left + STOPS_WITHIN_S, process.kill)]
    for timer in timers:
        timer.start()
    try:
        process.stdin.write(json.dumps(asdict(task)))
        process.stdin.close()
        for line in process.stdout:
            if finding := heard(line):
                yield finding
        code = process.wait()
    finally:
        for timer in timers:
            timer.cancel()
        _end(process, max(0.0, task.until + STOPS_WITHIN_S - time.time()))
    if code:
        is_late = time.time() > task.until
        yield failed(name, name, "the time was up" if is_late else f"its process ended with {code}")


def _end(process: "subprocess.Popen[str]", within_s: float) -> None:
    """If it has not ended: it stops its server first, which a kill would leave behind."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(min(within_s, STOPS_WITHIN_S))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _conditions(args: argparse.Namespace, seconds: float) -> Conditions:
    flags = " ".join(sys.argv[1:])
    return Conditions(
        card=card.card(),
        machine=machine(),
        releases=card.releases(),
        commit=commit(),
        day=datetime.datetime.now(datetime.UTC).date().isoformat(),
        command=f"make gpu-check GPU='{flags}'" if flags else "make gpu-check",
        seconds=seconds,
        is_dry=args.device == "cpu",
    )


def _keep(target: Path, conditions: Conditions, findings: list[Finding]) -> str:
    text = as_markdown(conditions, findings)
    (target / "gpu-check.md").write_text(text, encoding="utf-8")
    (target / "gpu-check.json").write_text(as_json(conditions, findings), encoding="utf-8")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller and shorter: to try it on a card")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a dry run, tiny")
    parser.add_argument(
        "--tiers", type=_names, default=list(TIERS), metavar="LIST", help=f"of {', '.join(TIERS)}"
    )
    parser.add_argument(
        "--require", type=_names, default=[], metavar="LIST", help="tiers whose absence is a failure"
    )
    parser.add_argument(
        "--minutes", type=_minutes, default=MINUTES, help=f"after which it has ended (default {MINUTES:g})"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where gpu-check.md and gpu-check.json go")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the graphs there for the next run")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between its marks")
    return parser


def _minutes(text: str) -> float:
    minutes = float(text)
    if until(minutes, 0.0) <= 0:
        raise argparse.ArgumentTypeError(f"{text} leaves no time beside the {STOPS_WITHIN_S:g} s to stop in")
    return minutes


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in TIERS:
            raise argparse.ArgumentTypeError(f"{name} is no tier: {', '.join(TIERS)}")
    return names


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; what was found is kept")
