"""`make bench-store`: what it costs to keep images and rows so that they last.

    PYTHONPATH=tests python -m benchmarks.store [--quick] [--write FILE]

Everything happens in a folder of its own in the temporary folder, which should be on a disk.
"""

import argparse
import datetime
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.serving.marks import write_between_marks
from benchmarks.serving.photos import photos
from benchmarks.store.adding import PER_REQUEST, Way, images_per_second, in_turns, server, ways
from benchmarks.store.report import report
from benchmarks.store.rows import Found, measure
from benchmarks.store.vectors import rows_per_second

MARKS = "bench-store"
ROUNDS, SIZES = 7, (10_000, 1_000_000)
QUICK_ROUNDS, QUICK_SIZES = 1, (10_000, 50_000)
N_PHOTOS = 256
SHAPES = ((1, 1), (1, 8), (PER_REQUEST, 1), (PER_REQUEST, 2))  # images a request, clients


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, few rows: to try the benchmark")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between its marks")
    args = parser.parse_args()
    command = f"make bench-store{' STORE=--quick' if args.quick else ''}"
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        added, vectors = _over_http(Path(folder) / "images", QUICK_ROUNDS if args.quick else ROUNDS)
        rows = [_rows(Path(folder) / "rows", n) for n in (QUICK_SIZES if args.quick else SIZES)]
    text = report(command, datetime.datetime.now(datetime.UTC).date().isoformat(), added, vectors, rows)
    print(text)
    if args.write is not None:
        write_between_marks(args.write, text, MARKS)
    return 0


def _over_http(data_dir: Path, rounds: int) -> tuple[dict[Way, list[float]], list[float]]:
    made = photos()[:N_PHOTOS]
    with server(data_dir) as http, http:
        _say("encoding and adding")
        images_per_second(http, ways(PER_REQUEST, 1)[1], made)  # once before anything is measured
        chosen = [way for shape in SHAPES for way in ways(*shape)]
        added = in_turns(rounds, partial(images_per_second, http, photos=made), chosen)
        _say("vectors")
        return added, rows_per_second(http)


def _rows(folder: Path, n_rows: int) -> Found:
    _say(f"{n_rows:,} rows")
    return measure(folder, n_rows)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
