"""What a refresh of the default model gains, loses and costs, and whether its intervals cover the truth.

    PYTHONPATH=tests python -m benchmarks.refresh_trials [--seeds N] [--write docs/refresh.md]

Five conditions (drawn symbols at three sizes, recoloured icons and photographs under other names), each
with N seeds: other pictures, and another order of training; and 2,000 drawn symbols once. The truth is what
the published version does on further pictures of the same kind, of which the refresh had none. Each run
takes as long as a refresh; a finished one is a line of --results, and the same command goes on after those.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.photographs_and_drawings import embedded, ranks
from benchmarks.report import OtherPrograms, commit, conditions, finish, parser, run, say, table
from benchmarks.servers import REPOSITORY, in_cache, modules_of
from benchmarks.trial_pictures import PICTURES, write_pairs
from diptych.bundle.repository import ModelRepository
from diptych_training.checkpoint import checkpoint_step
from diptych_training.data.label_key import label_key
from diptych_training.evaluate.evaluated_model import EvaluatedModel, load_evaluated_bundle
from diptych_training.evaluate.zero_shot import class_embeddings
from diptych_training.refresh.evaluation.difference import Difference
from diptych_training.refresh.evaluation.evaluate import choose_alpha
from diptych_training.refresh.evaluation.picture_set import open_sets
from diptych_training.refresh.evaluation.results import Evaluation, read_stored
from diptych_training.refresh.evaluation.trials import FoldScores
from diptych_training.refresh.ledger import RefreshFolder
from diptych_training.refresh.start import Places, open_start
from diptych_training.schema import Frozen, find_record
from diptych_training.stages import sigterm_as_interrupt
from support.default_model import DEFAULT_MODEL, MODEL_REPO

MARKS, NAME, N_SEEDS, N_FURTHER = "bench-refresh-trials", "mine", 3, 300
CONDITIONS = (("drawn", 20), ("icons", 60), ("photographs", 60), ("drawn", 60), ("drawn", 200))
ONCE = ("drawn", 2000)
HEADER = (
    "pairs", "seed", "own", "new pictures", "own, all labels", "new pictures, all labels",
    "shipped photographs", "shipped drawings", "steps × rate", "weight", "minutes", "processor minutes",
)  # fmt: skip


class Claim(Frozen):
    """What a refresh says of the user's pictures, and the truth: shares of `n` further ones that the old
    version and the new one name right.
    """

    found: Difference | None
    n: int
    old: float
    new: float

    @property
    def covers(self) -> bool | None:
        """Whether the interval of the new accuracy holds the true one; None if nothing is said."""
        found = self.found
        return None if found is None else found.new_low <= self.new <= found.new_high

    @property
    def covers_gain(self) -> bool | None:
        """Whether the interval of the difference holds the true one."""
        found = self.found
        return None if found is None else found.low <= self.new - self.old <= found.high


class Trial(Frozen):
    """One refresh. `alpha` is 0 if nothing was published; `shipped`: what was lost or gained, by part."""

    kind: str
    n: int
    seed: int
    commit: str
    own: Claim
    among_all: Claim
    shipped: dict[str, Difference]
    alpha: float
    rate: float
    steps: int
    minutes: float
    processor_minutes: float


def main() -> int:
    """Run what is not in the results yet, one seed of all conditions after the other, and write the table."""
    flags = parser(__doc__)
    flags.add_argument("--seeds", type=int, default=N_SEEDS, metavar="N")
    flags.add_argument("--results", type=Path, default=in_cache("refresh-trials.jsonl"), metavar="FILE")
    flags.add_argument("--table", action="store_true", help="run nothing, write what the results have")
    args = flags.parse_args()
    others = OtherPrograms()
    if not args.table:
        done = {(one.kind, one.n, one.seed) for one in stored(args.results)}
        with sigterm_as_interrupt():
            for kind, n, seed in [one for one in _planned(args.seeds) if one not in done]:
                _keep(args.results, _trial(kind, n, seed))
    command = f"python -m benchmarks.refresh_trials --seeds {args.seeds}"
    busy = "" if args.table else f" {others.said()}"
    finish(f"{conditions(command)}{busy}\n\n{report(stored(args.results), args.seeds)}\n", args.write, MARKS)
    return 0


def _planned(n_seeds: int) -> list[tuple[str, int, int]]:
    """Kind, pairs and seed of all runs, one seed of all conditions after the other."""
    return [(*condition, seed) for seed in range(n_seeds) for condition in CONDITIONS] + [(*ONCE, 0)]


def stored(results: Path) -> list[Trial]:
    """The finished runs, those of one condition together."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    found = map(Trial.model_validate_json, lines)
    return sorted(found, key=lambda one: (one.kind, one.n, one.seed))


def _keep(results: Path, trial: Trial) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.write(f"{trial.model_dump_json()}\n")


def _trial(kind: str, n: int, seed: int) -> Trial:
    with tempfile.TemporaryDirectory(prefix="diptych-trial-") as name:
        home = Path(name)
        places = Places(home / "models", home / "runs")
        shutil.copytree(MODEL_REPO / DEFAULT_MODEL, places.model_repo / DEFAULT_MODEL)
        learned, further = PICTURES[kind](n, N_FURTHER, seed)
        write_pairs(learned, home / "pairs")
        write_pairs(further, home / "further")
        say(f"{kind} {n}, seed {seed}")
        seconds, processor_s = _refresh(home / "pairs", places, seed)
        folder = RefreshFolder(places.runs_dir / "refresh" / f"{NAME}-1", f"{NAME}-1")
        evaluation = read_stored(folder.evaluation_file, Evaluation)
        choice = choose_alpha(evaluation, folds=find_record(folder.folds_file, FoldScores))
        alone, among_all = _truth(places, home / "further")
        own = choice.own
        return Trial(
            kind=kind,
            n=n,
            seed=seed,
            commit=commit(),
            own=Claim(found=own and own.difference, n=len(further), old=alone[0], new=alone[1]),
            among_all=Claim(found=own and own.among_all, n=len(further), old=among_all[0], new=among_all[1]),
            shipped=dict(evaluation.part_differences(choice.alpha)),
            alpha=choice.alpha,
            rate=tomllib.loads(folder.run.config_file.read_text())["optim"]["lr"],
            steps=checkpoint_step(folder.run.last),
            minutes=seconds / 60,
            processor_minutes=processor_s / 60,
        )


def _refresh(pairs: Path, places: Places, seed: int) -> tuple[float, float]:
    """Seconds and processor seconds of the command, whether or not it found something to publish."""
    command = [sys.executable, "-m", "diptych_training", "refresh", str(pairs), "--name", NAME]
    command += ["--model-repo", str(places.model_repo), "--runs-dir", str(places.runs_dir)]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--set", f"seed={seed}"], check=False, env={**os.environ, **modules_of(REPOSITORY)}
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):  # 1: nothing is published; without a judged mix that fails below
        sys.exit(f"refresh ended with {done.returncode}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _truth(places: Places, further: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """The shares of the further pictures that the old version and the new one name right: among the user's
    labels, and among these and the shipped ones. Without a new version that is the old one.
    """
    repository, start = ModelRepository(places.model_repo), open_start(DEFAULT_MODEL, places)
    files = [(file, file.with_suffix(".txt").read_text().strip()) for file in sorted(further.glob("*.png"))]
    old = load_evaluated_bundle(repository, DEFAULT_MODEL, start.manifest.version)
    own = sorted({name for _, name in files})
    keys = set(map(label_key, own))
    shipped = open_sets([start.shipped], old.tokenizer)[0].labels
    both = [*own, *(label for label in shipped if label_key(label) not in keys)]
    before = after = _shares(old, files, (own, both))
    if NAME in repository.names():
        after = _shares(load_evaluated_bundle(repository, NAME, 1), files, (own, both))
    return (before[0], after[0]), (before[1], after[1])


def _shares(
    model: EvaluatedModel, files: Sequence[tuple[Path, str]], candidates: Sequence[Sequence[str]]
) -> list[float]:
    """The mean over captions, of which the pairs had the same number of pictures each."""
    pictures, found = embedded(model, files), []
    of = np.array(pictures.names)
    for labels in candidates:
        texts = class_embeddings(model.encoder, model.tokenizer, labels, model.templates)
        right = ranks(pictures.rows, texts, [labels.index(name) for name in pictures.names]) == 0
        found.append(fmean(float(right[of == name].mean()) for name in set(pictures.names)))
    return found


def report(trials: Sequence[Trial], n_seeds: int) -> str:
    """How many runs there are, one row a run, and how many intervals cover the truth."""
    commits = ", ".join(sorted({one.commit for one in trials}))
    said = (
        f"{len(trials)} of {len(_planned(n_seeds))} runs are finished (commit {commits}). Top-1 before → "
        "after; in brackets the 95% interval of the new accuracy that the refresh reports. New pictures: the "
        "published version on pictures of the same kind that it has not learned from."
    )
    return "\n\n".join([said, table(HEADER, list(map(_row, trials))), *_coverage(trials)])


def _row(trial: Trial) -> list[str]:
    shipped = [_lost(trial.shipped[part]) for part in ("photographs", "drawings")]
    return [
        f"{trial.kind} {trial.n}", str(trial.seed), *_claim(trial.own), *_claim(trial.among_all), *shipped,
        f"{trial.steps} × {trial.rate:g}", f"{trial.alpha:g}" if trial.alpha else "nothing published",
        f"{trial.minutes:.1f}", f"{trial.processor_minutes:.1f}",
    ]  # fmt: skip


def _claim(claim: Claim) -> tuple[str, str]:
    truth = f"{claim.old:.0%} → {claim.new:.0%}{'' if claim.covers in (None, True) else ' (outside)'}"
    found = claim.found
    if found is None:
        return "", truth
    return f"{found.old:.0%} → {found.new:.0%} ({found.new_low:.0%} to {found.new_high:.0%})", truth


def _lost(found: Difference) -> str:
    return f"{100 * found.change:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _coverage(trials: Sequence[Trial]) -> Iterator[str]:
    for among, claims in (
        ("own labels", [one.own for one in trials]),
        ("own and shipped labels", [one.among_all for one in trials]),
    ):
        said = [(claim.covers, claim.covers_gain) for claim in claims if claim.found is not None]
        n_covered, n_gains = (sum(bool(one[at]) for one in said) for at in (0, 1))
        yield (
            f"Among {among}, {n_covered} of {len(said)} intervals hold the new accuracy on the new pictures, "
            f"{n_gains} of {len(said)} the gain there."
        )


if __name__ == "__main__":
    run(main)
