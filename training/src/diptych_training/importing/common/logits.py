"""What cosines are multiplied by and what is added, held to sense where they are read; knows no library."""

import math

from diptych_training.errors import ImportFailed

# CLIP is trained up to 100, SigLIP ends near 118. Far beyond, scores say which rounding error won.
MIN_SCALE, MAX_SCALE = 0.01, 10_000.0
MAX_BIAS = 10_000.0


def scale_of_logarithm(tensor: str, value: float) -> float:
    """The multiplier whose natural logarithm a tensor holds. Raises ImportFailed naming both."""
    scale = math.exp(value) if value < math.log(2 * MAX_SCALE) else math.inf
    return _require_scale(f"{tensor} is {value:g}, the logarithm of what cosines are multiplied by", scale)


def scale_of_temperature(tensor: str, value: float) -> float:
    """The multiplier where cosines are divided by a tensor. Raises ImportFailed naming both."""
    scale = 1 / value if value > 0 else math.nan
    return _require_scale(f"{tensor} is {value:g}, what cosines are divided by", scale)


def _require_scale(what: str, scale: float) -> float:
    """The same scale. Raises ImportFailed unless it is one that a model may have been trained to."""
    if not MIN_SCALE <= scale <= MAX_SCALE:  # a NaN is not
        raise ImportFailed(f"{what}: the multiplier must be from {MIN_SCALE:g} to {MAX_SCALE:g}")
    return scale


def require_bias(tensor: str, value: float) -> float:
    """The same bias. Raises ImportFailed unless it is one that a model may have been trained to."""
    if not abs(value) <= MAX_BIAS:
        raise ImportFailed(
            f"{tensor} is {value:g}, what is added to scaled cosines: "
            f"it must be from {-MAX_BIAS:g} to {MAX_BIAS:g}"
        )
    return value
