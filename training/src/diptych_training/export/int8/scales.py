"""Choose scales for 8-bit values, and quantise weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.adapters.onnxruntime.processor import may_saturate

Floats = NDArray[np.float32]

# Shares of the largest magnitude that are tried as clipping range.
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
EXACT_STEPS = 127  # of int8 on either side of 0
NARROW_STEPS = 64  # 255 * 64 * 2 = 32,640 still fits int16


@dataclass(frozen=True)
class Scale:
    """uint8 for activations: ``value = scale * (code - zero)``."""

    scale: float
    zero: int

    def round_trip(self, values: Floats) -> Floats:
        """Quantise and dequantise values."""
        codes = np.clip(np.rint(values / self.scale) + self.zero, 0, 255)
        rounded: Floats = ((codes - self.zero) * self.scale).astype(np.float32)
        return rounded


def scale_of_range(lowest: float, highest: float) -> Scale:
    """The scale for a range; 0 is always exact, since padding and Relu depend on it.

    Both ends are within the codes: pixels are mostly white in drawings, and an error there is the same in
    every sum.
    """
    low, high = min(lowest, 0.0), max(highest, 0.0)
    if not (high - low) / 255 > np.finfo(np.float32).tiny:
        return Scale(1.0, 0)
    zero = round(255 * -low / (high - low))
    return Scale(float(np.float32(max(-low / max(zero, 1), high / max(255 - zero, 1)))), zero)


def best_scale(lowest: float, highest: float, sample: Floats) -> Scale:
    """The scale with the least squared error on a sample of the values, among several clipping ranges.

    A few outliers stretch the range until all other values share a handful of codes; clipping the outliers
    costs their squared error. Both effects are in the same measure.
    """
    peak = max(abs(lowest), abs(highest))
    scales = [scale_of_range(max(lowest, -clip * peak), min(highest, clip * peak)) for clip in CLIPS]
    errors = [
        float(np.mean(np.square(scale.round_trip(sample) - sample), dtype=np.float64)) for scale in scales
    ]
    return scales[int(np.argmin(errors))]


def weight_steps() -> int:
    """Steps of int8 weights on either side of 0: 127, or 64 on x86 without VNNI.

    Such processors add two products in 16 bits, where sums saturate silently. There, 8-bit
    weights need the exact kernels that the server requests; with 7 bits the fast ones are exact too.
    """
    return NARROW_STEPS if may_saturate() else EXACT_STEPS


def quantised_columns(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """(K, N) -> int8 (K, N) and a scale for each column (N,)."""
    scales = _peaks_to_scales(np.abs(weight).max(axis=0), weight_steps())
    return np.rint(weight / scales).astype(np.int8), scales


def quantised_rows(table: Floats) -> tuple[NDArray[np.int8], Floats]:
    """(V, W) -> int8 (V, W) and a scale for each row (V, 1)."""
    scales = _peaks_to_scales(np.abs(table).max(axis=1, keepdims=True), EXACT_STEPS)
    return np.rint(table / scales).astype(np.int8), scales


def quantised_kernels(
    kernels: Floats, bias: Floats | None, input_scale: float
) -> tuple[NDArray[np.int8], Floats, NDArray[np.int32] | None]:
    """Convolution (O, ...) -> int8 kernels, a scale for each output (O,), and the bias in int32 (O,).

    The bias is in steps of ``input_scale * scale``. If a kernel is so small that its bias would overflow
    int32, the scale is increased until the bias fits.
    """
    flat = np.abs(kernels.reshape(len(kernels), -1)).max(axis=1)
    scales = _peaks_to_scales(flat, weight_steps())
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias) / (input_scale * 2.0**30)).astype(np.float32)
    codes = np.rint(kernels / scales.reshape(-1, *[1] * (kernels.ndim - 1))).astype(np.int8)
    whole = (
        None if bias is None else np.rint(bias.astype(np.float64) / (input_scale * scales)).astype(np.int32)
    )
    return codes, scales, whole


def _peaks_to_scales(peaks: Floats, steps: int) -> Floats:
    scales = (peaks / steps).astype(np.float32)
    return np.where(scales > np.finfo(np.float32).tiny, scales, np.float32(1))
