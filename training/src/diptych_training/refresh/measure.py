"""Measure the old weights, the trained ones and their mixes, and choose the mix to publish."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.progress import progress_bar
from diptych_training.refresh.evaluation.changes import Changes, find_changes
from diptych_training.refresh.evaluation.evaluate import (
    ALPHAS,
    Choice,
    choose_alpha,
    evaluate_mixes,
    fixed_choice,
)
from diptych_training.refresh.evaluation.mixes import Mixes
from diptych_training.refresh.evaluation.picture_set import judged
from diptych_training.refresh.evaluation.results import Evaluation
from diptych_training.refresh.evaluation.trials import FoldScores, best_training, with_folds
from diptych_training.refresh.ledger import RefreshFolder
from diptych_training.refresh.start import RefreshOptions


@dataclass(frozen=True)
class Measured:
    """The trained run and the weights it started from, and what was measured on the user's pairs (`own`) and
    on the shipped ones.
    """

    tuned: TrainedRun
    old: Mapping[str, Tensor]
    own: PackedDataset
    shipped: PackedDataset
    evaluation: Evaluation
    choice: Choice
    changes: Changes

    @property
    def gained_and_lost(self) -> tuple[list[str], list[str]]:
        """The names of held-out pictures that only the new model gets right, and only the old one; judged as
        in `Choice.own`.
        """
        own = self.choice.own
        gained: list[str] = []
        lost: list[str] = []
        if own is not None:
            sources = (self.own.source(name) for name, _ in judged(self.own))
            ids = (item.id for source in sources for item in source.items)
            for id, before, after in zip(ids, own.old.hits(), own.new.hits(), strict=True):
                if before != after:
                    (gained if after else lost).append(id.rpartition(":")[2])
        return gained, lost


def measure(
    folder: RefreshFolder,
    shipped: PackedDataset,
    options: RefreshOptions,
    folds: FoldScores | None = None,
) -> Measured:
    """Measure all mixes; choose one unless the options say which; find what changed most.

    With `folds`, the user's pairs are judged by their models. Results that the folder holds already are read
    from there.
    """
    tuned, alpha = load_run(folder.run.path, "last"), options.alpha
    old = dict(load_run(folder.run.path, "start").model.state_dict())
    own = read_dataset(folder.own)
    candidates = None if options.reviewed is None else options.reviewed.candidates
    mixes = Mixes(tuned, old, own, shipped, options.shipped_pictures, candidates=candidates)
    alphas = measured_alphas(options)
    with progress_bar(total=len(alphas) * mixes.n_pictures, unit="image", desc="judge") as bar:
        evaluation = evaluate_mixes(mixes, alphas, advance=bar.update, file=folder.evaluation_file)
    choice = (
        choose_alpha(evaluation, options.max_loss, folds)
        if alpha is None
        else fixed_choice(evaluation, alpha, "given by --alpha", options.max_loss, folds)
    )
    if folds is not None:
        evaluation = with_folds(evaluation, folds.trials(), best_training(folds))
    n_left = mixes.n_to_embed((0.0, choice.alpha))
    with progress_bar(total=n_left, unit="image", desc="compare", disable=not n_left) as bar:
        changes = find_changes(mixes, choice.alpha, advance=bar.update, file=folder.changes_file)
    return Measured(tuned, old, own, shipped, evaluation, choice, changes)


def measured_alphas(options: RefreshOptions) -> list[float]:
    """The weights to measure."""
    return sorted({*ALPHAS, *(() if options.alpha is None else (options.alpha,))})


def n_evaluated(own: PackedDataset, shipped: PackedDataset, asked: int | None) -> int:
    """How many pictures each mix embeds."""
    n_own, n_all = (sum(entry.n for _, entry in judged(dataset)) for dataset in (own, shipped))
    return n_own + (n_all if asked is None else min(asked, n_all))
