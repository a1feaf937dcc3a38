"""Report on how an int8 graph was made; part of the manifest."""

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], object]  # receives one line for each finished stage


@dataclass(frozen=True)
class Trial:
    """One candidate graph: its number of int8 layers, and its cosine to the reference (see `make_check`)."""

    n_quantised: int
    cosine: float


@dataclass(frozen=True)
class Int8Report:
    """How an int8 graph was made.

    - `n_quantised`: number of int8 layers; scales are calibrated, except those in `kept_rows`, and those of
      products of probabilities, of which only the weights are int8.
    - `kept_rows`: nodes with a scale for each row, computed at run time.
    - `kept_float`: nodes that stay in float32.
    - `weight_steps`: steps of the weights on either side of 0, which depend on the exporting processor.
    - `cosine`: that of the last candidate.
    - `tries`: all candidates in order.
    """

    n_quantised: int
    kept_rows: tuple[str, ...]
    kept_float: tuple[str, ...]
    weight_steps: int
    cosine: float
    tries: tuple[Trial, ...]
