"""Rewrite a float32 graph so that it runs faster; each rewrite is checked.

Only what is portable may become part of a published graph: standard operators, nothing chosen for this
machine. What is not portable (fusions into onnxruntime's own operators, memory layouts for this processor),
onnxruntime does itself whenever it loads a graph, for the machine that it then runs on. No measured time
decides: the same checkpoint gives the same graphs on every machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from onnx import ModelProto

from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.export.onnx.graph import Graph
from diptych_training.export.optimise.patches import patches_by_product
from diptych_training.export.optimise.quick_gelu import quick_gelu_as_silu
from diptych_training.export.optimise.upstream_gather import pool_first
from diptych_training.export.proof.calibration import Batch, run_graph
from diptych_training.export.proof.parity import row_cosines

__all__ = ["FLOAT32", "REWRITES", "Rewrite", "Step", "optimise"]

MIN_COSINE = 0.999999  # a rewrite changes the order of sums, never the sums

Rewrite = Callable[[Graph], ModelProto | None]  # None where a graph has nothing that the rewrite is about
# Of every precision.
REWRITES: dict[str, Rewrite] = {
    "pool before the last feed-forward": pool_first,
    "take the factor out of QuickGELU": quick_gelu_as_silu,
}
# Of the float32 graph alone: int8 reads pixels in a kernel of its own.
FLOAT32: dict[str, Rewrite] = {"embed patches by a matrix product": patches_by_product}


@dataclass(frozen=True)
class Step:
    """What one rewrite did.

    `cosine_min` is the lowest cosine between rows before and after; 0 where the rewrite gave no graph that
    runs, 1 where it had nothing to do (`changed` is False then).
    """

    name: str
    cosine_min: float
    kept: bool
    changed: bool = True


def optimise(
    file: Path,
    inputs: Sequence[Batch],
    say: Callable[[str], object],
    rewrites: Mapping[str, Rewrite] = REWRITES,
) -> list[Step]:
    """Put the float32 graph in `file` through each rewrite after which its rows agree.

    `inputs` are real batches: pixels (B, S, S, 3) uint8 or input_ids (B, L) int32.
    """
    steps = []
    for name, rewrite in rewrites.items():
        step = _try(name, rewrite, file, inputs, say)
        outcome = f"cosine {step.cosine_min:.7f}, {'kept' if step.kept else 'dropped'}"
        say(f"optimise: {name}: {outcome if step.changed else 'nothing to do'}")
        steps.append(step)
    return steps


def _try(
    name: str, rewrite: Rewrite, file: Path, inputs: Sequence[Batch], say: Callable[[str], object]
) -> Step:
    with TemporaryDirectory(dir=file.parent, prefix=".optimise-") as folder:
        tried = Path(folder) / file.name
        try:
            model = rewrite(Graph(read_graph(file)))
            if model is None:
                return Step(name, cosine_min=1.0, kept=False, changed=False)
            write_graph(model, tried)
            after = run_graph(tried, inputs)
        except Exception as error:  # a graph that a rewrite cannot do is published without it
            say(f"optimise: {name}: gave no graph that runs: {error}")
            return Step(name, cosine_min=0.0, kept=False)
        cosine_min = float(row_cosines(run_graph(file, inputs), after).min())
        kept = cosine_min >= MIN_COSINE  # a NaN is not kept
        if kept:
            write_graph(read_graph(tried), file)  # written anew, as a graph names the file of its weights
    return Step(name, cosine_min, kept)
