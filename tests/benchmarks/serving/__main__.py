"""`make bench`: what serving costs on this machine, beside others and beside the machine's own limit.

    PYTHONPATH=tests python -m benchmarks.serving [--quick] [--only PART,...] [--fresh] [--write FILE]

Each finished measurement is kept: stop it with Ctrl-C, and the same command goes on, as long as commit,
machine and releases are the same. `--fresh` starts over.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving import default_model, growth, in_process, inputs, limit, over_http, rivals
from benchmarks.serving.bench import Bench
from benchmarks.serving.figure import draw
from benchmarks.serving.machine import commit, machine, versions
from benchmarks.serving.marks import write_between_marks
from benchmarks.serving.places import REPOSITORY, in_cache
from benchmarks.serving.report import report
from benchmarks.serving.store import Store

PARTS: dict[str, Callable[[Bench, int], None]] = {
    "inputs": inputs.prepare,
    "limit": limit.measure_limit,
    "inprocess": in_process.measure_grids,
    "http": over_http.measure_http,
    "rivals": rivals.measure_rivals,
    "default": default_model.measure_default,
    "growth": growth.measure_growth,
}
SECONDS, ROUNDS = 8.0, 2
QUICK_SECONDS, QUICK_ROUNDS = 1.5, 1
FIGURE = Path("server/figures/bench.png")


def main() -> int:
    args = _parser().parse_args()
    results = in_cache("results-quick.json" if args.quick else "results.json")
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    conditions = f"{machine()}; {versions()}; commit {commit()}"
    if args.fresh:  # bundles may be of an older exporter, and the servers' plans of a busy machine
        for folder in ("data", "model_repo"):
            shutil.rmtree(in_cache(folder), ignore_errors=True)
    bench = Bench(
        Store(results, conditions, fresh=args.fresh),
        seconds,
        rounds,
        precisions=args.precisions,
        decodes=args.decodes,
        rivals=args.rivals,
    )
    bench.say(f"{conditions}; results in {results}")
    for number in range(rounds):  # all parts in turn, then all again: A, B, A, B
        for name in PARTS if args.only is None else args.only:
            bench.say(f"round {number + 1} of {rounds}: {name}")
            PARTS[name](bench, number)
    text = report(bench)
    print(text)
    draw(bench, in_cache("bench.png") if args.write is None else REPOSITORY / FIGURE)
    if args.write is not None:
        write_between_marks(args.write, text)
    return 0


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
    parser.add_argument("--rivals", type=_words, default=list(rivals.RIVALS), metavar="LIST", help="or none")
    return parser


def _words(text: str) -> list[str]:
    return [] if text == "none" else text.split(",")


def _parts(text: str) -> list[str]:
    names = _words(text) if text != "report" else []
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name} is no part: {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
