"""Read a checkpoint's logit scale and bias, and check that their values are plausible."""

import math

from diptych_training.errors import ImportFailed

# CLIP is trained up to 100, SigLIP ends near 118. Far beyond, scores only compare rounding errors.
MIN_SCALE, MAX_SCALE = 0.01, 10_000.0
MAX_BIAS = 10_000.0


def scale_of_logarithm(tensor: str, value: float) -> float:
    """The logit scale whose natural logarithm a tensor holds. Raises ImportFailed if it is implausible."""
    scale = math.exp(value) if value < math.log(2 * MAX_SCALE) else math.inf
    return _require_scale(f"{tensor} is {value:g}, the logarithm of the logit scale", scale)


def scale_of_temperature(tensor: str, value: float) -> float:
    """The logit scale where a tensor holds the temperature. Raises ImportFailed if it is implausible."""
    scale = 1 / value if value > 0 else math.nan
    return _require_scale(f"{tensor} is {value:g}, the temperature that cosines are divided by", scale)


def _require_scale(what: str, scale: float) -> float:
    """Return the scale if a trained model may have it. Raises ImportFailed otherwise."""
    if not MIN_SCALE <= scale <= MAX_SCALE:  # False for NaN too
        raise ImportFailed(f"{what}: the scale must be from {MIN_SCALE:g} to {MAX_SCALE:g}")
    return scale


def require_bias(tensor: str, value: float) -> float:
    """Return the bias if a trained model may have it. Raises ImportFailed otherwise."""
    if not abs(value) <= MAX_BIAS:
        raise ImportFailed(
            f"{tensor} is {value:g}, the bias that is added to scaled cosines: "
            f"it must be from {-MAX_BIAS:g} to {MAX_BIAS:g}"
        )
    return value
