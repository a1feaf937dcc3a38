"""`make bench`: what serving costs on this machine, beside others and beside the machine's own limit.

    PYTHONPATH=tests python -m benchmarks.serving [--quick] [--only PART,...] [--fresh] [--write FILE]

Each finished measurement is kept: stop it with Ctrl-C, and the same command goes on, as long as commit,
machine and releases are the same. `--fresh` starts over. Needs Linux, whose /proc says what processes take.
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving import default_model, growth, in_process, inputs, limit, over_http, rivals
from benchmarks.serving.bench import Bench
from benchmarks.serving.figure import draw
from benchmarks.serving.machine import commit, machine, versions
from benchmarks.serving.marks import write_between_marks
from benchmarks.serving.places import REPOSITORY, in_cache
from benchmarks.serving.progress import Cost, Part, progress
from benchmarks.serving.report import report
from benchmarks.serving.sharing import n_cpus
from benchmarks.serving.sources import sources_hash
from benchmarks.serving.store import Store
from diptych.wiring.planning import PLAN_FILE

PARTS = {
    "inputs": Part(inputs.prepare, once=Cost(20, 0)),
    "limit": Part(limit.measure_limit, each=Cost(420, 2)),
    "inprocess": Part(in_process.measure_grids, once=Cost(188, 18)),
    "http": Part(over_http.measure_http, each=Cost(650, 88), once=Cost(25, 1)),
    "rivals": Part(rivals.measure_rivals, each=Cost(73, 28)),
    "default": Part(default_model.measure_default, each=Cost(25, 20)),
    "growth": Part(growth.measure_growth, each=Cost(61, 13), once=Cost(40, 2)),
}
SECONDS, ROUNDS = 8.0, 2
QUICK_SECONDS, QUICK_ROUNDS = 1.5, 1
FIGURE = Path("server/figures/bench.png")
MEASURED = ("server/src", "tests/benchmarks/serving")  # what must stay the same during a run


def main() -> int:
    args = _parser().parse_args()
    if sys.platform != "linux":
        sys.exit(f"the benchmark reads /proc, which {sys.platform} does not have")
    results = in_cache("results-quick.json" if args.quick else "results.json")
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    conditions = f"{machine(n_cpus())}; {versions()}; commit {commit()}"
    bench = Bench(
        Store(results, conditions, fresh=args.fresh),
        seconds,
        rounds,
        precisions=args.precisions,
        decodes=args.decodes,
        rivals=args.rivals,
    )
    bench.say(f"{conditions}; results in {results}")
    parts = list(PARTS) if args.only is None else args.only
    if parts:
        _forget_what_is_old(bench, args.fresh)
        _measure(bench, parts)
    if args.write is not None and bench.store.is_empty:
        sys.exit(f"{args.write} is left as it is: nothing was measured under these conditions ({conditions})")
    text = report(bench)
    print(text)
    draw(bench, in_cache("bench.png") if args.write is None else REPOSITORY / FIGURE)
    if args.write is not None:
        write_between_marks(args.write, text)
    return 0


def heed_signals() -> None:
    """Both end the run as Ctrl-C does: servers are stopped. A shell's background jobs ignore SIGINT else."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _forget_what_is_old(bench: Bench, fresh: bool) -> None:
    """The servers' plans, unless they were measured in the run that goes on; bundles when asked to."""
    if bench.store.is_empty:
        for plans in in_cache("data").glob(f"*/{PLAN_FILE}"):
            plans.unlink()
    if fresh:
        shutil.rmtree(in_cache("model_repo"), ignore_errors=True)


def _measure(bench: Bench, parts: Sequence[str]) -> None:
    """All parts in turn, then all again: A, B, A, B."""
    if "rivals" in parts:
        rivals.prepare_rivals(bench)
    steps = [(number, name) for number in range(bench.rounds) for name in parts]
    code = _code()
    for done, (number, name) in enumerate(steps):
        if _code() != code:
            sys.exit(f"stopped before {name}: the code was changed; what was measured stays under its commit")
        bench.say(progress(steps[done:], PARTS, bench.seconds, bench.rounds))
        PARTS[name].measure(bench, number)


def _code() -> str:
    return sources_hash(REPOSITORY / place for place in MEASURED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--only", type=_parts, metavar="PART[,PART]", help=f"of {', '.join(PARTS)}; or report"
    )
    parser.add_argument("--seconds", type=float, help=f"of one window (default {SECONDS:g})")
    parser.add_argument("--rounds", type=int, help=f"in which variants take turns (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="short windows, one round: to try the benchmark")
    parser.add_argument(
        "--fresh", action="store_true", help="forget what was measured before, import the models anew"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="put the tables between its marks, and the figure into server/figures",
    )
    parser.add_argument("--precisions", type=_words, default=["fp32", "int8"], metavar="LIST")
    parser.add_argument("--decodes", type=_words, default=["exact", "fast"], metavar="LIST")
    parser.add_argument("--rivals", type=_rivals, default=list(rivals.RIVALS), metavar="LIST", help="or none")
    return parser


def _words(text: str) -> list[str]:
    return [] if text == "none" else text.split(",")


def _rivals(text: str) -> list[str]:
    names = _words(text)
    for name in names:
        if name not in rivals.RIVALS:
            raise argparse.ArgumentTypeError(f"{name} is no rival: {', '.join(rivals.RIVALS)}; or none")
    return names


def _parts(text: str) -> list[str]:
    names = _words(text) if text != "report" else []
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name} is no part: {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


if __name__ == "__main__":
    heed_signals()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
