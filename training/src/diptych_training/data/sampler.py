"""Draw the items of a training step, as a pure function of seed and step."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych_training.config import DataConfig
from diptych_training.errors import TrainingConfigError


@dataclass(frozen=True)
class SourceWeights:
    """The kind of a source and one weight per item, for the sampler."""

    name: str
    kind: str
    weights: NDArray[np.float64]  # (N,)


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The random numbers of one step: the same whether or not the run was broken off before it."""
    return np.random.default_rng((seed, step))


class MixtureSampler:
    """Draws items with replacement: kind by `mixture`, source by its total weight, item by its own."""

    def __init__(self, sources: Sequence[SourceWeights], config: DataConfig, table: str = "data") -> None:
        """Raises TrainingConfigError for a kind or source of the configuration that the data has not; `table`
        is where the recipe says it."""
        _check_names(f"{table}.mixture", config.mixture, {source.kind for source in sources})
        _check_names(f"{table}.source_weights", config.source_weights, {source.name for source in sources})
        self._cumulative = np.cumsum(_probabilities(sources, config, table))  # (sum of N,)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(n,) positions in the concatenation of the sources."""
        drawn = rng.random(n) * self._cumulative[-1]
        positions: NDArray[np.int64] = np.searchsorted(self._cumulative, drawn, side="right")
        return positions


def _probabilities(sources: Sequence[SourceWeights], config: DataConfig, table: str) -> NDArray[np.float64]:
    """(sum of N,) probability of each item."""
    totals: defaultdict[str, float] = defaultdict(float)
    shares = []
    for source in sources:
        share = source.weights * config.source_weights.get(source.name, 1.0)
        totals[source.kind] += float(share.sum())
        shares.append(share)
    mixture_total = sum(config.mixture.values())
    if not mixture_total:
        raise TrainingConfigError(f"{table}.mixture: all weights are zero")
    for kind, weight in config.mixture.items():
        if weight and not totals[kind]:
            raise TrainingConfigError(f"{table}.mixture.{kind} is {weight}, but its sources have no weight")
    per_kind = {
        kind: config.mixture.get(kind, 0.0) / mixture_total / (total or 1) for kind, total in totals.items()
    }
    return np.concatenate(
        [share * per_kind[source.kind] for share, source in zip(shares, sources, strict=True)]
    )


def _check_names(key: str, configured: Mapping[str, float], known: set[str]) -> None:
    unknown = sorted(set(configured) - known)
    if unknown:
        raise TrainingConfigError(
            f"{key}: {', '.join(unknown)} not in the data, which has {', '.join(sorted(known))}"
        )
