"""`make soak`: the server at full load for twenty minutes, with hostile requests among the good ones.

    PYTHONPATH=tests python -m benchmarks.soak [--minutes M] [--clients N] [--fresh] [--write FILE] [--report]

Every second is kept in a file as it comes. Ctrl-C ends the load early, with a report of what was measured;
`--report` makes it again from the file, for a run that was killed too. The status is 1 when a bar is missed.
"""

import argparse
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.serving.default_model import MODEL, MODEL_REPO
from benchmarks.serving.machine import commit, machine, versions
from benchmarks.serving.marks import write_between_marks
from benchmarks.serving.places import REPOSITORY, in_cache
from benchmarks.serving.servers import Program, diptych, running
from benchmarks.soak.figure import draw
from benchmarks.soak.report import MARKS, report
from benchmarks.soak.samples import About, Run, read_run
from benchmarks.soak.soaking import soak
from benchmarks.soak.verdicts import verdicts
from benchmarks.soak.world import GALLERY, GALLERY_FOLDER

MINUTES, CLIENTS, HOSTILE_SHARE = 20.0, 16, 0.05
FIGURE = Path("server/figures/soak.png")
PLANS = "plans.json"


def main() -> int:
    args = _parser().parse_args()
    file = in_cache("soak", "samples.jsonl")
    if not args.report:
        _run(args, file)
    try:
        run = read_run(file)
    except FileNotFoundError:
        return _say("nothing was measured yet", 1)
    if not run.samples:
        return _say("nothing was measured: it ended before the first second", 1)
    text = report(run)
    print(text)
    _keep(run, text, args.write)
    return 0 if all(verdict.met for verdict in verdicts(run)) else 1


def _run(args: argparse.Namespace, file: Path) -> None:
    """Start a server as its users do, on a data folder of its own, and load it."""
    data_dir = in_cache("soak", "data")
    _empty(data_dir, is_fresh=args.fresh)
    about = About(
        machine=machine(),
        versions=versions(),
        commit=commit(),
        began_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"make soak SOAK='--minutes {args.minutes:g} --clients {args.clients}'",
        planned_s=60 * args.minutes,
        clients=args.clients,
        hostile_share=HOSTILE_SHARE,
    )
    _say(f"{about.machine}; commit {about.commit}; samples in {file}")
    try:
        with running(_program(data_dir)) as server:
            uvloop.run(soak(server, about, file, data_dir))
    except RuntimeError as error:  # it did not start, or did not live as long as it should
        _say(str(error))


def _program(data_dir: Path) -> Program:
    """What `make serve` starts; of two data folders the last one counts."""
    gallery = ("--gallery", str(GALLERY_FOLDER), "--default-collection", GALLERY)
    program = diptych(MODEL_REPO, MODEL, *gallery, "--data-dir", str(data_dir), precision="auto")
    return replace(program, name="soak")


def _empty(data_dir: Path, *, is_fresh: bool) -> None:
    """Nothing of the last run stays, but for the measured plan unless `is_fresh`."""
    plans = data_dir / PLANS
    kept = plans.read_bytes() if plans.exists() and not is_fresh else None
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    if kept is not None:
        plans.write_bytes(kept)


def _keep(run: Run, text: str, readme: Path | None) -> None:
    """The figure, and the text between the marks of a file: both only of a run of the whole time."""
    is_whole = run.end is not None and not run.end.ended_by and run.about.planned_s >= 60 * MINUTES
    if readme is None or not is_whole:
        figure = in_cache("soak", "soak.png")
        draw(run, figure)
        _say(f"figure in {figure}")
        if readme is not None:
            _say(f"{readme} is left as it is: that was no whole run of {MINUTES:g} minutes")
        return
    draw(run, REPOSITORY / FIGURE)
    write_between_marks(readme, text + IMAGE, MARKS)


IMAGE = "\n![Resident memory, requests per second and latency over the time of the run](figures/soak.png)\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of load (default {MINUTES:g})")
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"at once (default {CLIENTS})")
    parser.add_argument(
        "--fresh", action="store_true", help="forget the plan that the server measured before"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help=f"put a run of {MINUTES:g} minutes between its marks"
    )
    parser.add_argument("--report", action="store_true", help="of what was measured last, without measuring")
    return parser


def _say(line: str, status: int = 0) -> int:
    print(line, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
