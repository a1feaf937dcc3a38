"""`make bench-training`: images/s and loss of our trainer beside open_clip's, on the same task.

    PYTHONPATH=tests python -m benchmarks.training [--quick] [--rounds N] [--write FILE]

The same small ViT, weights to start from, pairs in the same order, batch size and workers, both in bfloat16;
open_clip runs by its own command line in an environment of its own.
"""

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

from benchmarks.serving.environments import environment
from benchmarks.serving.marks import write_between_marks
from benchmarks.training import ours, theirs
from benchmarks.training.data import write_pairs
from benchmarks.training.report import OURS, THEIRS, report
from benchmarks.training.task import CONTEXT_LENGTH, Task, Turn
from diptych_training.importing.open_clip.bpe import clip_tokenizer

MARKS = "bench-training"
ROUNDS, STEPS, WARMUP = 3, 50, 10
QUICK_ROUNDS, QUICK_STEPS, QUICK_WARMUP = 1, 9, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, few steps: to try the benchmark")
    parser.add_argument("--rounds", type=int, help=f"in which the two take turns (default {ROUNDS})")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between its marks")
    args = parser.parse_args()
    environment("open_clip")
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        sizes = (QUICK_STEPS, QUICK_WARMUP) if args.quick else (STEPS, WARMUP)
        task = _task(Path(folder), *sizes)
        turns = _in_turns(task, args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS))
        flags = " ".join(["--quick"] * args.quick + [f"--rounds {args.rounds}"] * bool(args.rounds))
        command = f"make bench-training TRAINING='{flags}'" if flags else "make bench-training"
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        text = report(command, day, turns, task.n_steps, _mean_tokens(task.table))
    print(text)
    if args.write is not None:
        write_between_marks(args.write, text, MARKS)
    return 0


def _task(folder: Path, n_steps: int, n_warmup: int) -> Task:
    _say("writing pairs")
    task = Task(n_steps, n_warmup, write_pairs(folder / "pairs", n_steps), folder)
    ours.write_start(task.start, task.weights)
    return task


def _in_turns(task: Task, rounds: int) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {OURS: [], THEIRS: []}
    for number in range(rounds):
        for name, trainer in ((OURS, ours), (THEIRS, theirs)):
            _say(f"round {number + 1}: {name}")
            turns[name].append(trainer.train(task))
            _say(f"  {turns[name][-1]}")
    return turns


def _mean_tokens(table: Path) -> float:
    """Start and end included, at most the context length."""
    tokenizer = clip_tokenizer()
    captions = [line.split("\t")[1] for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    lengths = [min(CONTEXT_LENGTH, len(found.ids)) for found in tokenizer.encode_batch(captions)]
    return sum(lengths) / len(lengths)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped")
