"""Choose how much of the tuned weights to keep (the weight alpha of WiSE-FT, Wortsman et al. 2022)."""

from dataclasses import dataclass

from diptych_training.refresh.judge.results import MIN_OWN_PAIRS, POINTS, Judged, MixResult

MAX_LOSS = 3.0  # points of top-1 on the shipped set
FEW_ALPHA = 0.5  # with few pairs, at least
ROUNDING = 1e-9


@dataclass(frozen=True)
class Choice:
    """The chosen weight and the reason, in words. `loss` is in points of top-1 on the shipped set.

    `is_fixed`: it was not chosen by the user's held-out pairs.
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


def choose_alpha(judged: Judged, max_loss: float = MAX_LOSS) -> Choice:
    """Choose the mix with the best top-1 on the user's held-out pairs among those within `max_loss` points.

    Ties go to the smaller alpha; the old model (alpha 0) is always within. With fewer than MIN_OWN_PAIRS
    pairs, or none held out, the shipped set decides alone: see `_choice_without_own`.
    """
    if judged.is_too_few or judged.old.own is None:
        return _choice_without_own(judged, max_loss)
    within = [mix for mix in judged.mixes if judged.loss_points(mix.alpha) <= max_loss + ROUNDING]
    best = max(within, key=lambda mix: (_own_top1(mix), -mix.alpha))
    reason = (
        f"best of {len(within)} measured mixes that lose at most {max_loss:g} points on the shipped set: "
        f"{_own_top1(best) * POINTS:.1f} on {judged.own}, the old model {_own_top1(judged.old) * POINTS:.1f}"
    )
    return Choice(best.alpha, False, reason, judged.loss_points(best.alpha), max_loss)


def _choice_without_own(judged: Judged, max_loss: float) -> Choice:
    """The largest mix from FEW_ALPHA on without a clear loss on the shipped set, within the bound.

    FEW_ALPHA if there is none, whatever it loses: check `is_within`. A model that has learned little by its
    recipe, and forgotten nothing, so keeps all of it. Raises EvaluationError if FEW_ALPHA was not measured.
    """
    judged.at(FEW_ALPHA)
    harmless = [
        mix.alpha
        for mix in judged.mixes
        if mix.alpha >= FEW_ALPHA
        and judged.shipped_difference(mix.alpha).verdict != "worse"
        and judged.loss_points(mix.alpha) <= max_loss + ROUNDING
    ]
    alpha = max(harmless, default=FEW_ALPHA)
    few = f"{judged.n_own_pairs:,} pairs are too few to choose by ({MIN_OWN_PAIRS} are needed)"
    why = few if judged.is_too_few else "no pair was held out to choose by"
    rule = "the largest without a clear loss on the shipped set" if harmless else "the least that is tried"
    return Choice(alpha, True, f"{rule}: {why}", judged.loss_points(alpha), max_loss)


def _own_top1(mix: MixResult) -> float:
    assert mix.own is not None
    return mix.own.top(1)
