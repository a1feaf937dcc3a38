"""Rewrite a float32 graph so that it runs faster; each rewrite is checked on real inputs.

Rewrites are portable: standard operators, nothing specific to this machine, no measured times, so the same
checkpoint gives the same graphs everywhere. onnxruntime does machine-specific optimisation (fusion into its
own operators, memory layouts) when it loads a graph.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from onnx import ModelProto

from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.export.onnx.graph import Graph
from diptych_training.export.proof.calibration import Batch, run_graph
from diptych_training.export.proof.parity import row_cosines
from diptych_training.export.rewrites import patch_embedding_as_matmul, quick_gelu_as_silu, upstream_gather
from diptych_training.progress import Reporter

MIN_COSINE = 0.999999  # a rewrite changes only the order of sums

Rewrite = Callable[[Graph], ModelProto | None]  # None if the rewrite does not apply to the graph
# For every precision.
REWRITES: dict[str, Rewrite] = {
    "pool before the last feed-forward": upstream_gather,
    "take the factor out of QuickGELU": quick_gelu_as_silu,
}
# For the float32 graph only: int8 has its own patch embedding.
FLOAT32: dict[str, Rewrite] = {"embed patches by a matrix product": patch_embedding_as_matmul}


@dataclass(frozen=True)
class Step:
    """Outcome of one rewrite.

    `cosine_min` is the lowest cosine between embeddings before and after; 0 if the rewrite gave no graph that
    runs, 1 if it did not apply (then `changed` is False).
    """

    name: str
    cosine_min: float
    kept: bool
    changed: bool = True


def optimise(
    file: Path, inputs: Sequence[Batch], report: Reporter, rewrites: Mapping[str, Rewrite] = REWRITES
) -> list[Step]:
    """Apply each rewrite to the float32 graph in `file` and keep those after which the embeddings agree.

    `inputs` are real batches: pixels (B, S, S, 3) uint8 or input_ids (B, L) int32.
    """
    steps = []
    for name, rewrite in rewrites.items():
        step = _try(name, rewrite, file, inputs, report)
        outcome = f"cosine {step.cosine_min:.7f}, {'kept' if step.kept else 'dropped'}"
        report(f"optimise: {name}: {outcome if step.changed else 'nothing to do'}")
        steps.append(step)
    return steps


def _try(name: str, rewrite: Rewrite, file: Path, inputs: Sequence[Batch], report: Reporter) -> Step:
    with TemporaryDirectory(dir=file.parent, prefix=".optimise-") as folder:
        tried = Path(folder) / file.name
        try:
            model = rewrite(Graph(read_graph(file)))
            if model is None:
                return Step(name, cosine_min=1.0, kept=False, changed=False)
            write_graph(model, tried)
            after = run_graph(tried, inputs)
        except Exception as error:  # if a rewrite fails, the graph is published without it
            report(f"optimise: {name}: gave no graph that runs: {error}")
            return Step(name, cosine_min=0.0, kept=False)
        cosine_min = float(row_cosines(run_graph(file, inputs), after).min())
        kept = cosine_min >= MIN_COSINE  # False for NaN
        if kept:
            write_graph(read_graph(tried), file)  # not renamed: a graph names the file of its weights
    return Step(name, cosine_min, kept)
