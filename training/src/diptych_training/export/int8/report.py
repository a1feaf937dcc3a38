"""What is told about an int8 graph once it is written; knows nothing of ONNX."""

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], object]  # told each finished stage, as one line


@dataclass(frozen=True)
class Try:
    """One candidate that was held against the reference: how many of its layers were int8, and the cosine."""

    n_quantised: int
    cosine: float


@dataclass(frozen=True)
class Int8Report:
    """How an int8 graph came to be.

    - `n_quantised`: layers in int8. They have calibrated scales, but for those of `kept_rows`.
    - `kept_rows`: nodes whose scales are found at run time, one for each row.
    - `kept_float`: nodes that stayed float32.
    - `weight_steps`: steps of the weights on either side of 0, which depends on the processor of the export.
    - `cosine`: mean cosine against the reference, of the last of `tries` that counted.
    """

    n_quantised: int
    kept_rows: tuple[str, ...]
    kept_float: tuple[str, ...]
    weight_steps: int
    cosine: float
    tries: tuple[Try, ...]
