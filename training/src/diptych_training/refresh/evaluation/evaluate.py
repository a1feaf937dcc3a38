"""Choose how much of the tuned weights to keep (the weight alpha of WiSE-FT, Wortsman et al. 2022)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.embedding import Advance
from diptych_training.refresh.evaluation.mixes import EmbeddedMix, Mixes
from diptych_training.refresh.evaluation.picture_set import SPLIT, score_set
from diptych_training.refresh.evaluation.results import (
    MIN_OWN_PAIRS,
    POINTS,
    Evaluation,
    MixResult,
    read_stored,
    write_stored,
)
from diptych_training.refresh.evaluation.view import OWN, SHIPPED

MAX_LOSS = 3.0  # points of top-1 on the shipped set
FIXED_ALPHA = 0.5
ROUNDING = 1e-9


@dataclass(frozen=True)
class Choice:
    """The chosen weight and the reason, in words. `loss` is in points of top-1 on the shipped set.

    `is_fixed`: it was not chosen by what was measured.
    """

    alpha: float
    is_fixed: bool
    reason: str
    loss: float
    max_loss: float

    @property
    def is_within(self) -> bool:
        """Whether the loss is within the bound."""
        return self.loss <= self.max_loss + ROUNDING


def choose_alpha(evaluation: Evaluation, max_loss: float = MAX_LOSS) -> Choice:
    """Choose the mix with the best top-1 on the user's held-out pairs among those within `max_loss` points.

    Ties go to the smaller alpha; the old model (alpha 0) is always within. With fewer than MIN_OWN_PAIRS
    pairs, or none held out, alpha is FIXED_ALPHA whatever the loss: check `is_within`. Raises
    EvaluationError if that one was not measured.
    """
    if evaluation.is_too_few or evaluation.old.own is None:
        evaluation.at(FIXED_ALPHA)
        few = f"{evaluation.n_own_pairs:,} pairs are too few to choose by ({MIN_OWN_PAIRS} are needed)"
        reason = f"fixed: {few if evaluation.is_too_few else 'no pair was held out to choose by'}"
        return Choice(FIXED_ALPHA, True, reason, evaluation.loss_points(FIXED_ALPHA), max_loss)
    within = [mix for mix in evaluation.mixes if evaluation.loss_points(mix.alpha) <= max_loss + ROUNDING]
    best = max(within, key=lambda mix: (_own_top1(mix), -mix.alpha))
    reason = (
        f"best of {len(within)} measured mixes that lose at most {max_loss:g} points on the shipped set: "
        f"{_own_top1(best) * POINTS:.1f} on {evaluation.own}, the old model "
        f"{_own_top1(evaluation.old) * POINTS:.1f}"
    )
    return Choice(best.alpha, False, reason, evaluation.loss_points(best.alpha), max_loss)


def _own_top1(mix: MixResult) -> float:
    assert mix.own is not None
    return mix.own.top(1)


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
        shipped=score_set(shipped),
        kinds={kind: score_set(shipped, pictures.of_kind(kind)) for kind in pictures.kinds()},
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
