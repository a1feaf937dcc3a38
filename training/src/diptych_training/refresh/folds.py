"""Train models without each fold of the user's pairs, and judge them on it: the rate, the number of steps and
the weight are chosen by pictures that the models have not seen.

Successive halving: both rates on the first folds, the better one on the others. A fold's run is removed once
it is judged; `folds.json` has the scores, so that an interrupted command goes on at the fold where it was.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from diptych_training.checkpoint import load_run
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.files import write_text
from diptych_training.objectives.predictive import TrainedModel
from diptych_training.progress import Reporter
from diptych_training.refresh.evaluation.mixes import Mixes
from diptych_training.refresh.evaluation.picture_set import FOLD, fold_source, judged
from diptych_training.refresh.evaluation.trials import FoldScore, FoldScores, Trial, best_training
from diptych_training.refresh.ledger import RefreshFolder
from diptych_training.refresh.measure import measured_alphas
from diptych_training.refresh.start import Places, RefreshOptions, Start
from diptych_training.reports.text import counted
from diptych_training.run_folder import RunFolder
from diptych_training.schema import find_record
from diptych_training.train.teachers import open_teachers
from diptych_training.train.train_run import train_run

N_FOLDS_OF_BOTH = 2  # in which both rates are tried
LOWER = 0.5  # of the recipe's rate: the other one
STEPS = (1 / 6, 1 / 3, 1.0)  # of the recipe's: where the models are judged


def judged_steps(recipe: TrainConfig) -> list[int]:
    """The numbers of steps after which the models are judged."""
    return sorted({math.ceil(share * recipe.run.steps) for share in STEPS})


def n_models(n_folds: int) -> int:
    """How many models are trained, the published one included."""
    return n_folds + min(N_FOLDS_OF_BOTH, n_folds) + 1


def judge_folds(
    options: RefreshOptions,
    places: Places,
    folder: RefreshFolder,
    *,
    start: Start,
    recipe: TrainConfig,
    report: Reporter,
) -> FoldScores | None:
    """Train and judge a model without each fold; None if that was interrupted.

    Scores that the folder holds are kept.
    """
    own = read_dataset(folder.own)
    sizes = {int(name.removeprefix(FOLD)): entry.n for name, entry in judged(own)}
    stored = find_record(folder.folds_file, FoldScores)
    inputs = folder.ledger.id
    scores = (
        stored if stored is not None and stored.inputs == inputs else FoldScores(inputs=inputs, sizes=sizes)
    )
    course = _Course(options, places, folder, start, recipe, own, scores, report)
    for number, fold in enumerate(sizes):
        rates: tuple[float, ...] = (LOWER * recipe.optim.lr, recipe.optim.lr)
        if number >= N_FOLDS_OF_BOTH:
            rates = (best_training(course.scores).rate,)
        for rate in rates:
            if not course.run(number + 1, fold, rate):
                return None
    return course.scores


@dataclass
class _Course:
    """The runs of all folds, and their scores so far."""

    options: RefreshOptions
    places: Places
    folder: RefreshFolder
    start: Start
    recipe: TrainConfig
    own: PackedDataset
    scores: FoldScores
    report: Reporter
    _opened: Mixes | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)

    def run(self, number: int, fold: int, rate: float) -> bool:
        """Train and judge one model to its end; False if that was interrupted."""
        left = [steps for steps in judged_steps(self.recipe) if not self._is_scored(fold, rate, steps)]
        run = self.folder.fold_run(fold, rate)
        if not left:
            shutil.rmtree(run.path, ignore_errors=True)  # that may have been interrupted
            return True
        self.report(f"fold {number} of {len(self.scores.sizes)}, rate {rate:g}{self._time_left()}")
        self._started = time.perf_counter()
        done = train_run(
            self._recipe(run, rate),
            replace(self.own, entries={k: v for k, v in self.own.entries.items() if k != fold_source(fold)}),
            run.path,
            self.start.source,
            open_teachers=lambda: open_teachers(self.recipe, self.places.runs_dir, self.places.model_repo),
            resume=run.has_begun,
            device=self.options.device,
            report=lambda _: None,
            stops={steps: self._judge(run, fold, rate, steps) for steps in left},
        )
        if done:
            shutil.rmtree(run.path)
        return done

    def _recipe(self, run: RunFolder, rate: float) -> TrainConfig:
        steps = self.recipe.run.steps
        return self.recipe.model_copy(
            update={
                "name": run.path.name,
                "optim": self.recipe.optim.model_copy(update={"lr": rate}),
                "run": self.recipe.run.model_copy(update={"checkpoint_every": steps}),
            }
        )

    def _judge(self, run: RunFolder, fold: int, rate: float, steps: int) -> Callable[[TrainedModel], None]:
        """Judge the model after so many steps, with all weights, and store the scores."""

        def judge(model: TrainedModel) -> None:
            mixes = self._mixes(run)
            mixes.run.model.load_state_dict(model.state_dict())
            found = []
            for alpha in measured_alphas(self.options)[1:]:
                own, among_all = mixes.score_source(fold_source(fold), alpha)
                found.append(
                    FoldScore(
                        fold=fold,
                        rate=rate,
                        steps=steps,
                        alpha=alpha,
                        ranks=own.ranks,
                        ranks_among_all=among_all.ranks,
                    )
                )
            now = time.perf_counter()
            seconds, self._started = self.scores.seconds + now - self._started, now
            self.scores = self.scores.model_copy(
                update={"scores": (*self.scores.scores, *found), "seconds": seconds}
            )
            write_text(self.folder.folds_file, f"{self.scores.model_dump_json()}\n")

        return judge

    def _mixes(self, run: RunFolder) -> Mixes:
        """Mixes of the weights that the run began with, and others that are loaded into its model."""
        if self._opened is None or self._opened.run.folder != run.path:
            begun = load_run(run.path, "start")
            old = {name: tensor.clone() for name, tensor in begun.model.state_dict().items()}
            reviewed = self.options.reviewed
            candidates = None if reviewed is None else reviewed.candidates
            self._opened = Mixes(begun, old, self.own, self.start.shipped, candidates=candidates)
        return self._opened

    def _is_scored(self, fold: int, rate: float, steps: int) -> bool:
        return any((one.fold, one.rate, one.steps) == (fold, rate, steps) for one in self.scores.scores)

    def _time_left(self) -> str:
        """How long the runs that are left take, the published one included, as far as those before tell."""
        n_steps = self.recipe.run.steps
        before = {(one.fold, one.rate, one.steps) for one in self.scores.scores}
        n_done = sum(max(s for f, r, s in before if (f, r) == run) for run in {key[:2] for key in before})
        if not n_done:
            return ""
        left_s = self.scores.seconds / n_done * (n_models(len(self.scores.sizes)) * n_steps - n_done)
        return f", about {counted(max(1, round(left_s / 60)), 'minute')} left to train"


def chosen_recipe(recipe: TrainConfig, training: Trial) -> TrainConfig:
    """The recipe with the rate that the folds chose."""
    return recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"lr": training.rate})})
