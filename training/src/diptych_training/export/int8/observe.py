"""Watch the tensors of a graph while it embeds real inputs; knows nothing of codes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych_training.export.int8.model_file import open_model
from diptych_training.export.onnx.graph import Floats, Graph, with_outputs

Batches = Sequence[NDArray[np.generic]]

CHUNK = 4  # items at once: every watched tensor of all of them is in memory
N_SAMPLED = 1 << 15  # about as many values of each tensor are kept from each chunk


@dataclass(frozen=True)
class Seen:
    """What one tensor held, as rows of K channels: the exact ends of each channel, and rows at random."""

    lows: Floats  # (K,)
    highs: Floats  # (K,)
    rows: Floats  # (n, K)

    @property
    def lowest(self) -> float:
        """The lowest value of all."""
        return float(self.lows.min())

    @property
    def highest(self) -> float:
        """The highest value of all."""
        return float(self.highs.max())

    def divided(self, factors: Floats) -> "Seen":
        """What would have been seen if each channel had been divided by its factor (K,), all positive."""
        return Seen(self.lows / factors, self.highs / factors, self.rows / factors)


def observe(graph: Graph, names: Sequence[str], batches: Batches, folder: Path) -> dict[str, Seen]:
    """Run all batches and keep what was seen of each named float tensor."""
    rng = np.random.default_rng(0)
    parts: dict[str, list[Seen]] = {name: [] for name in names}
    for values in _watched(graph, names, batches, folder):
        for name, value in values.items():
            rows = value.reshape(-1, value.shape[-1])  # (N, K)
            drawn = rng.integers(0, len(rows), max(1, N_SAMPLED // rows.shape[1]))
            parts[name].append(Seen(rows.min(axis=0), rows.max(axis=0), rows[drawn]))
    return {name: _joined(seen) for name, seen in parts.items()}


def _watched(
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


def _joined(parts: Sequence[Seen]) -> Seen:
    return Seen(
        np.minimum.reduce([part.lows for part in parts]),
        np.maximum.reduce([part.highs for part in parts]),
        np.concatenate([part.rows for part in parts]),
    )
