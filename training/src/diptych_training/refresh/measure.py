"""Measure the old weights, the trained ones and their mixes, and choose the mix to publish."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.progress import progress_bar
from diptych_training.refresh.folder import RefreshFolder
from diptych_training.refresh.judge.changes import Changes, find_changes
from diptych_training.refresh.judge.choose import Choice, choose_alpha
from diptych_training.refresh.judge.judge import ALPHAS, judge, n_judged
from diptych_training.refresh.judge.results import Judged


@dataclass(frozen=True)
class Measured:
    """The trained run and the weights it started from, and what was measured on the user's pairs (`own`) and
    on the shipped ones.
    """

    tuned: TrainedRun
    old: Mapping[str, Tensor]
    own: PackedDataset
    shipped: PackedDataset
    judged: Judged
    choice: Choice
    changes: Changes


def measure(folder: RefreshFolder, shipped: PackedDataset, alpha: float | None, max_loss: float) -> Measured:
    """Measure all mixes; choose one unless `alpha` is given; find what changed most.

    Results that the folder holds already are read from there.
    """
    tuned = load_run(folder.run.path, "last")
    old = dict(load_run(folder.run.path, "start").model.state_dict())
    own = read_dataset(folder.own)
    alphas = sorted({*ALPHAS, *(() if alpha is None else (alpha,))})
    n_pictures = n_judged(own, shipped)
    with progress_bar(total=len(alphas) * n_pictures, unit="image", desc="judge") as bar:
        judged = judge(tuned, old, own, shipped, alphas, advance=bar.update, file=folder.judged_file)
    choice = (
        choose_alpha(judged, max_loss)
        if alpha is None
        else Choice(alpha, True, "given by --alpha", judged.loss_points(alpha), max_loss)
    )
    with progress_bar(total=2 * n_pictures, unit="image", desc="compare") as bar:
        changes = find_changes(
            tuned, old, choice.alpha, own, shipped, advance=bar.update, file=folder.changes_file
        )
    return Measured(tuned, old, own, shipped, judged, choice, changes)
