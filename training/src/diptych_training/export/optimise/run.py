"""Apply rewrites to a graph one after the other and keep those that hold; knows none of the rewrites."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from diptych.bundle.encoder import Embeddings
from diptych_training.export.calibration import Batch, run_graph
from diptych_training.export.onnx_files import read_graph, write_graph
from diptych_training.export.optimise.candidates import PORTABLE, Candidate
from diptych_training.export.parity import row_cosines

MIN_COSINE = 0.999999  # a rewrite changes the order of sums, never the sums


@dataclass(frozen=True)
class Step:
    """What one rewrite did.

    `cosine_min` is the lowest cosine between rows before and after; 0 where the rewrite gave no graph that
    runs, 1 where the graph has nothing that the rewrite is about (`changed` is False then).
    """

    name: str
    cosine_min: float
    kept: bool
    changed: bool = True


@dataclass(frozen=True)
class _Graph:
    """A graph's file and, once something asks for them, its rows for all inputs."""

    file: Path
    inputs: Sequence[Batch]

    @cached_property
    def rows(self) -> Embeddings:
        """(N, D)."""
        return run_graph(self.file, self.inputs)


def optimise(
    source: Path,
    target: Path,
    inputs: Sequence[Batch],
    say: Callable[[str], object],
    candidates: Sequence[Candidate] = PORTABLE,
) -> list[Step]:
    """Write the float32 graph at `source` to `target` after every candidate whose rows agree.

    Which candidates a graph gets depends on its kind alone, never on a measured time: a published graph does
    not depend on how busy the machine was. `inputs` are real batches: pixels (B, S, S, 3) uint8 or input_ids
    (B, L) int32. `target` may be `source`.
    """
    steps = []
    with TemporaryDirectory(dir=target.parent, prefix=".optimise-") as folder:
        current = _Graph(source, inputs)
        for index, candidate in enumerate(candidates):
            tried = _Graph(Path(folder) / f"{index}.onnx", inputs)
            step = _try(candidate, current, tried, say)
            say(_sentence(step))
            steps.append(step)
            current = tried if step.kept else current
        _place(current.file, target)
    return steps


def _try(candidate: Candidate, current: _Graph, tried: _Graph, say: Callable[[str], object]) -> Step:
    try:
        if not candidate.rewrite(current.file, tried.file):
            return Step(candidate.name, cosine_min=1.0, kept=False, changed=False)
        after = tried.rows
    except Exception as error:  # onnxruntime raises classes of its own that share no public base
        # What a rewrite is worth is a few per cent: a graph that it cannot do is published without.
        say(f"optimise: {candidate.name}: gave no graph that runs: {error}")
        return Step(candidate.name, cosine_min=0.0, kept=False)
    cosine_min = float(row_cosines(current.rows, after).min())
    return Step(candidate.name, cosine_min, kept=cosine_min >= MIN_COSINE)  # a NaN is not kept


def _place(graph: Path, target: Path) -> None:
    if graph != target:  # written anew, as a graph names the file of its weights
        write_graph(read_graph(graph), target)


def _sentence(step: Step) -> str:
    if not step.changed:
        return f"optimise: {step.name}: nothing to do"
    outcome = "kept" if step.kept else "dropped"
    return f"optimise: {step.name}: cosine {step.cosine_min:.7f}, {outcome}"
