"""Record value ranges and samples of a graph's tensors on calibration inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych_training.export.int8.model_file import open_model
from diptych_training.export.onnx.graph import Floats, Graph, with_outputs

Batches = Sequence[NDArray[np.generic]]

CHUNK = 4  # items per run: all observed tensors of a run are in memory
N_SAMPLED = 1 << 15  # approximate number of values kept of each tensor and chunk


@dataclass(frozen=True)
class TensorStats:
    """Values of one tensor as rows of K channels: exact range of each channel, and a sample of rows."""

    lows: Floats  # (K,)
    highs: Floats  # (K,)
    rows: Floats  # (n, K)

    @property
    def lowest(self) -> float:
        """The lowest value of all channels."""
        return float(self.lows.min())

    @property
    def highest(self) -> float:
        """The highest value of all channels."""
        return float(self.highs.max())

    def divided(self, factors: Floats) -> "TensorStats":
        """The statistics after dividing each channel by its factor (K,), all positive."""
        return TensorStats(self.lows / factors, self.highs / factors, self.rows / factors)


def observe(graph: Graph, names: Sequence[str], batches: Batches, folder: Path) -> dict[str, TensorStats]:
    """Run all batches and return the statistics of each named float tensor."""
    rng = np.random.default_rng(0)
    parts: dict[str, list[TensorStats]] = {name: [] for name in names}
    for values in _run_with_outputs(graph, names, batches, folder):
        for name, value in values.items():
            rows = value.reshape(-1, value.shape[-1])  # (N, K)
            drawn = rng.integers(0, len(rows), max(1, N_SAMPLED // rows.shape[1]))
            parts[name].append(TensorStats(rows.min(axis=0), rows.max(axis=0), rows[drawn]))
    return {name: _joined(stats) for name, stats in parts.items()}


def _run_with_outputs(
    graph: Graph, names: Sequence[str], batches: Batches, folder: Path
) -> Iterator[dict[str, Floats]]:
    if not names:
        return
    session = open_model(with_outputs(graph, list(names)), folder)
    source = session.get_inputs()[0].name
    for batch in batches:
        for start in range(0, len(batch), CHUNK):
            values = session.run(list(names), {source: batch[start : start + CHUNK]})
            yield dict(zip(names, values, strict=True))


def _joined(parts: Sequence[TensorStats]) -> TensorStats:
    return TensorStats(
        np.minimum.reduce([part.lows for part in parts]),
        np.maximum.reduce([part.highs for part in parts]),
        np.concatenate([part.rows for part in parts]),
    )
