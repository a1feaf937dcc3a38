"""Choose how much of the tuned weights to keep (the weight alpha of WiSE-FT, Wortsman et al. 2022)."""

from dataclasses import dataclass

from diptych_training.refresh.judge.results import MIN_OWN_PAIRS, POINTS, Judged, MixResult

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


def choose_alpha(judged: Judged, max_loss: float = MAX_LOSS) -> Choice:
    """Choose the mix with the best top-1 on the user's held-out pairs among those within `max_loss` points.

    Ties go to the smaller alpha; the old model (alpha 0) is always within. With fewer than MIN_OWN_PAIRS
    pairs, or none held out, alpha is FIXED_ALPHA whatever the loss: check `is_within`. Raises
    EvaluationError if that one was not measured.
    """
    if judged.is_too_few or judged.old.own is None:
        judged.at(FIXED_ALPHA)
        few = f"{judged.n_own_pairs:,} pairs are too few to choose by ({MIN_OWN_PAIRS} are needed)"
        reason = f"fixed: {few if judged.is_too_few else 'no pair was held out to choose by'}"
        return Choice(FIXED_ALPHA, True, reason, judged.loss_points(FIXED_ALPHA), max_loss)
    within = [mix for mix in judged.mixes if judged.loss_points(mix.alpha) <= max_loss + ROUNDING]
    best = max(within, key=lambda mix: (_own_top1(mix), -mix.alpha))
    reason = (
        f"best of {len(within)} measured mixes that lose at most {max_loss:g} points on the shipped set: "
        f"{_own_top1(best) * POINTS:.1f} on {judged.own}, the old model {_own_top1(judged.old) * POINTS:.1f}"
    )
    return Choice(best.alpha, False, reason, judged.loss_points(best.alpha), max_loss)


def _own_top1(mix: MixResult) -> float:
    assert mix.own is not None
    return mix.own.top(1)
