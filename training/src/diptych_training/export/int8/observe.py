"""Read and run ONNX models of any size, and record ranges and samples of their tensors."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto

from diptych.adapters.onnxruntime.session import open_session
from diptych_training.errors import ExportError
from diptych_training.export.onnx.files import write_graph
from diptych_training.export.onnx.graph import Floats, Graph, with_outputs


def read_simplified(source: Path, folder: Path) -> Graph:
    """Read a float32 model after onnxruntime's basic optimisation, which folds constants and batch norms.

    Intermediate files go to `folder`. Raises ExportError if the file does not load or does not have exactly
    one input and one output.
    """
    file = folder / "simplified.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", "simplified.data"
    )
    # Keep MatMul and its bias as two nodes of any rank: the fusion makes a Gemm between two reshapes.
    try:
        ort.InferenceSession(
            source, options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
        )
    except Exception as error:  # onnxruntime's errors share no public base class
        raise ExportError(f"{source.name} does not load in onnxruntime {ort.__version__}: {error}") from error
    model = onnx.load(file)
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        found = f"{len(model.graph.input)} inputs and {len(model.graph.output)} outputs"
        raise ExportError(f"{source.name} has {found}, an encoder must have one of each")
    _give_unique_names(model)
    return Graph(model)


def open_file(file: Path) -> ort.InferenceSession:
    """A session on the CPU, as the server opens it. Raises BundleError when onnxruntime refuses the file."""
    return open_session(file, n_threads=0, device="cpu")


def open_model(model: ModelProto, folder: Path) -> ort.InferenceSession:
    """A session for a model, written to `folder` first: a session made from bytes would keep the bytes."""
    file = folder / "intermediate.onnx"
    write_graph(model, file)
    return open_file(file)


def run(session: ort.InferenceSession, batch: NDArray[np.generic]) -> Floats:
    """The first output for the only input."""
    rows: Floats = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return rows


def _give_unique_names(model: ModelProto) -> None:
    uses = Counter(node.name for node in model.graph.node)
    for index, node in enumerate(model.graph.node):
        if not node.name or uses[node.name] > 1:
            node.name = f"{node.name or node.op_type}#{index}"


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
