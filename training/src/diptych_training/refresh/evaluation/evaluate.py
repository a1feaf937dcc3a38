"""Choose how much of the tuned weights to keep (the weight alpha of WiSE-FT, Wortsman et al. 2022)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.embedding import Advance
from diptych_training.refresh.evaluation.difference import Difference
from diptych_training.refresh.evaluation.mixes import EmbeddedMix, Mixes
from diptych_training.refresh.evaluation.picture_set import SPLIT, among_labels_of, score_set
from diptych_training.refresh.evaluation.results import (
    POINTS,
    Evaluation,
    MixResult,
    OwnChange,
    Part,
    read_stored,
    write_stored,
)
from diptych_training.refresh.evaluation.trials import (
    UNKNOWN,
    FoldScores,
    Trial,
    Trials,
    best_training,
    own_change,
    trial_of,
)
from diptych_training.refresh.evaluation.view import OWN, SHIPPED

MAX_LOSS = 3.0  # points of top-1 on each part of the shipped set
FIXED_ALPHA = 0.5
ROUNDING = 1e-9


@dataclass(frozen=True)
class Loss:
    """What a mix loses on one part of the shipped set, against the bound of `max_loss` points of top-1."""

    part: Part
    difference: Difference
    max_loss: float

    @property
    def can_be_bounded(self) -> bool:
        """Whether the interval is within half the bound if nothing changes. With fewer captions a picture or
        two that change would be as much as the bound.
        """
        return POINTS * self.difference.unresolved <= self.max_loss / 2 + ROUNDING

    @property
    def points(self) -> float:
        """The loss at the worse end of the interval; the measured one if the captions are too few."""
        found = self.difference.low if self.can_be_bounded else self.difference.change
        return max(0.0, -POINTS * found)

    @property
    def is_within(self) -> bool:
        """Whether the loss is within the bound."""
        return self.points <= self.max_loss + ROUNDING


@dataclass(frozen=True)
class Choice:
    """The chosen weight and the reason, in words, and what that mix loses on each part of the shipped set.

    `is_fixed`: the weight was not chosen by what was measured. `own`: the user's held-out pictures, each
    judged by a choice that was made without its caption, with the weights `own_alphas`; None if none was
    judged. `in_folds`: by models that learned from the other folds.
    """

    alpha: float
    is_fixed: bool
    reason: str
    losses: tuple[Loss, ...]
    max_loss: float
    own: OwnChange | None = None
    own_alphas: tuple[float, ...] = ()
    in_folds: bool = False

    @property
    def is_within(self) -> bool:
        """Whether the loss of each part is within the bound."""
        return all(loss.is_within for loss in self.losses)


def fixed_choice(
    evaluation: Evaluation, alpha: float, reason: str, max_loss: float, folds: FoldScores | None = None
) -> Choice:
    """A weight that does not depend on what was measured. Raises EvaluationError if it was not measured."""
    evaluation.at(alpha)
    return _choice(
        evaluation,
        _trials(evaluation, folds),
        {alpha},
        alpha,
        reason,
        max_loss=max_loss,
        is_fixed=True,
        in_folds=folds is not None,
    )


def losses_of(evaluation: Evaluation, alpha: float, max_loss: float) -> tuple[Loss, ...]:
    """What this mix loses on each part of the shipped set."""
    return tuple(Loss(part, found, max_loss) for part, found in evaluation.part_differences(alpha))


def choose_alpha(
    evaluation: Evaluation, max_loss: float = MAX_LOSS, folds: FoldScores | None = None
) -> Choice:
    """Choose the weight by the user's held-out pictures, among those within `max_loss` points.

    It is the median of those that all but one part of the captions choose by their top-1; ties go to the
    smaller one. The old model (alpha 0) is always within. With held-out pairs of fewer than two captions,
    alpha is FIXED_ALPHA whatever the loss: check `is_within`. Raises EvaluationError if that one was not
    measured.
    """
    own = evaluation.old.own
    if own is None or len(set(own.captions)) == 1:
        what = "no pair was" if own is None else "pairs of one caption only were"
        return fixed_choice(evaluation, FIXED_ALPHA, f"fixed: {what} held out to choose by", max_loss, folds)
    within = {mix.alpha for mix in evaluation.mixes if _is_within(evaluation, mix, max_loss)}
    tried, old = _trials(evaluation, folds), trial_of(evaluation.old)
    training = None if folds is None else best_training(folds)
    of_training = [
        one for one in tried if training is None or (one.rate, one.steps) == (training.rate, training.steps)
    ]
    alpha = Trials(of_training, old, within).median_alpha(own.captions) if of_training else 0.0
    best = next((one for one in of_training if one.alpha == alpha), old)
    reason = (
        f"best of {len(within)} measured mixes within a loss of {max_loss:g} points on the shipped set: "
        f"{best.ranks.count(0) / own.n * POINTS:.1f} on {evaluation.own}, the old model "
        f"{own.top(1) * POINTS:.1f}{_barred(evaluation, of_training, best, within, max_loss)}"
    )
    return _choice(
        evaluation,
        tried,
        within,
        alpha,
        reason,
        max_loss=max_loss,
        is_fixed=False,
        in_folds=folds is not None,
    )


def _barred(
    evaluation: Evaluation, tried: Sequence[Trial], chosen: Trial, within: Collection[float], max_loss: float
) -> str:
    """Which weight would have been better on the user's pictures, and what it loses too much of."""
    right = chosen.ranks.count(0)
    better = [one for one in tried if one.alpha not in within and one.ranks.count(0) > right]
    if not better:
        return ""
    best = max(better, key=lambda one: (one.ranks.count(0), -one.alpha))
    beyond = losses_beyond(evaluation, best.alpha, max_loss)
    return f"; {best.alpha:g} has {best.ranks.count(0) / len(best.ranks) * POINTS:.1f}, but {beyond}"


def losses_beyond(evaluation: Evaluation, alpha: float, max_loss: float) -> str:
    """Which parts of the shipped set may lose more than the bound with a weight, in words; "" if none may."""
    return " and ".join(
        f"{loss.part} may lose {loss.points:.1f}"
        for loss in losses_of(evaluation, alpha, max_loss)
        if not loss.is_within
    )


def is_bound_alone(evaluation: Evaluation, choice: Choice, folds: FoldScores | None) -> bool:
    """Whether the old model was chosen only since all weights that gain lose more than the bound."""
    if choice.is_fixed or choice.alpha:
        return False
    return choose_alpha(evaluation, POINTS, folds).alpha > 0


def _trials(evaluation: Evaluation, folds: FoldScores | None) -> list[Trial]:
    """All that was tried but the old model."""
    if folds is not None:
        return folds.trials()
    return [trial_of(mix) for mix in evaluation.mixes if mix.own is not None and mix is not evaluation.old]


def _choice(
    evaluation: Evaluation,
    tried: Sequence[Trial],
    admissible: Collection[float],
    alpha: float,
    reason: str,
    *,
    max_loss: float,
    is_fixed: bool,
    in_folds: bool,
) -> Choice:
    own = evaluation.old.own
    chosen: list[Trial] = []
    if own is not None and any(one.alpha in admissible and UNKNOWN not in one.ranks for one in tried):
        trials = Trials(tried, None if is_fixed else trial_of(evaluation.old), admissible)
        chosen = trials.without_own_part(own.captions)
    elif own is not None and not is_fixed:
        chosen = [trial_of(evaluation.old)] * own.n
    return Choice(
        alpha,
        is_fixed,
        reason,
        losses_of(evaluation, alpha, max_loss),
        max_loss,
        own_change(evaluation, chosen) if chosen else None,
        tuple(one.alpha for one in chosen),
        in_folds,
    )


def _is_within(evaluation: Evaluation, mix: MixResult, max_loss: float) -> bool:
    losses = losses_of(evaluation, mix.alpha, max_loss)
    return mix is evaluation.old or all(loss.is_within for loss in losses)


ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def evaluate_mixes(
    mixes: Mixes, alphas: Sequence[float] = ALPHAS, *, advance: Advance, file: Path | None = None
) -> Evaluation:
    """Measure mixes; the old weights (alpha 0) are always measured.

    `advance` gets the number of embedded pictures, `mixes.n_pictures` of each alpha. With `file`, the results
    are stored there after each mix, and mixes that it already holds for the same weights and data are not
    measured again. Raises EvaluationError if `file` cannot be read, TrainingConfigError for an alpha outside
    [0, 1] or other architectures.
    """
    evaluation = Evaluation(
        inputs=mixes.inputs,
        own=mixes.own.name,
        shipped=mixes.shipped.name,
        n_own_pairs=n_pairs(mixes.own),
        n_photographs=mixes.shipped_set.n_photographs(),
        mixes=(),
    )
    wanted = sorted({0.0, *alphas})
    results = _stored_results(file, evaluation.inputs)
    advance(mixes.n_pictures * len(results.keys() & set(wanted)))
    for alpha in wanted:
        if alpha not in results:
            results[alpha] = _measure_mix(mixes.embed(alpha, advance), alpha)
            if file is not None:
                write_stored(file, _with_results(evaluation, results, sorted(results)))
    return _with_results(evaluation, results, wanted)


def n_pairs(own: PackedDataset) -> int:
    """The number of the user's usable pairs, those trained on included."""
    return sum(entry.n for split in ("train", SPLIT) for _, entry in own.listed(split))


def _measure_mix(mix: EmbeddedMix, alpha: float) -> MixResult:
    own, shipped = mix.sets.get(OWN), mix.sets[SHIPPED]
    pictures = shipped.pictures
    return MixResult(
        alpha=alpha,
        own=None if own is None else score_set(own),
        own_among_all=None if own is None else score_set(among_labels_of(own, shipped)),
        shipped=score_set(shipped),
        parts={part: score_set(shipped, pictures.of_part(part)) for part in pictures.parts()},
    )


def _with_results(
    evaluation: Evaluation, results: Mapping[float, MixResult], alphas: Sequence[float]
) -> Evaluation:
    return evaluation.model_copy(update={"mixes": tuple(results[alpha] for alpha in alphas)})


def _stored_results(file: Path | None, inputs: str) -> dict[float, MixResult]:
    """The results in the file by alpha; none if it was measured with other inputs."""
    if file is None or not file.exists():
        return {}
    stored = read_stored(file, Evaluation)
    return {mix.alpha: mix for mix in stored.mixes} if stored.inputs == inputs else {}
