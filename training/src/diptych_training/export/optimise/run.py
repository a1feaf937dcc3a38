"""Apply rewrites to a graph one after the other and keep those that hold; knows none of the rewrites."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from diptych_training.export.onnx_files import has_external_data, read_graph, write_graph
from diptych_training.export.optimise.candidates import PORTABLE, Candidate
from diptych_training.export.optimise.measure import Batch, Graph, compare_speed
from diptych_training.export.parity import row_cosines

MIN_COSINE = 0.999999  # a rewrite changes the order of sums, never the sums
NOISE = 0.03  # two measurements of one graph differ by less: within it, nothing is slower


@dataclass(frozen=True)
class Step:
    """What one rewrite did.

    Speeds are batch items in a second of one thread's processor time, `ratio` that of after to before (see
    `compare_speed`); `cosine_min` is the lowest cosine between rows before and after. All four are 0 where no
    graph came of it that runs.
    """

    name: str
    per_s_before: float
    per_s_after: float
    ratio: float
    cosine_min: float
    kept: bool
    changed: bool = True  # False: the graph has nothing that this rewrite is about; the rest was not measured


def optimise(
    source: Path,
    target: Path,
    inputs: Sequence[Batch],
    say: Callable[[str], object],
    candidates: Sequence[Candidate] = PORTABLE,
) -> list[Step]:
    """Write the float32 graph at `source` to `target` after every candidate that agrees and is not slower.

    `inputs` are real batches: pixels (B, S, S, 3) uint8 or input_ids (B, L) int32. The first is timed, all
    are compared, with onnxruntime's own optimisations on in both graphs. `target` may be `source`.
    """
    steps = []
    with TemporaryDirectory(dir=target.parent, prefix=".optimise-") as folder:
        current = source
        for index, candidate in enumerate(candidates):
            tried = Path(folder) / f"{index}.onnx"
            step = _try(candidate, current, tried, inputs, say)
            say(_sentence(step))
            steps.append(step)
            current = tried if step.kept else current
        _place(current, target)
    return steps


def _try(
    candidate: Candidate, current: Path, tried: Path, inputs: Sequence[Batch], say: Callable[[str], object]
) -> Step:
    try:
        if not candidate.rewrite(current, tried):
            return Step(candidate.name, 0.0, 0.0, 1.0, 1.0, kept=False, changed=False)
        after = Graph(tried)
        rows = [after.run(batch) for batch in inputs]
    except Exception as error:  # onnxruntime raises classes of its own that share no public base
        # What a rewrite is worth is a few per cent: a graph that it cannot do is published without.
        say(f"optimise: {candidate.name}: gave no graph that runs: {error}")
        return Step(candidate.name, 0.0, 0.0, 0.0, 0.0, kept=False)
    before = Graph(current)
    cosine_min = min(_cosine_min(before.run(batch), found) for batch, found in zip(inputs, rows, strict=True))
    speeds = compare_speed(before, after, inputs[0], least=1 - NOISE)
    # `>=` on both: a NaN keeps nothing.
    kept = cosine_min >= MIN_COSINE and speeds.ratio >= 1 - NOISE
    return Step(candidate.name, speeds.per_s_before, speeds.per_s_after, speeds.ratio, cosine_min, kept)


def _cosine_min(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    return float(row_cosines(before, after).min())


def _place(graph: Path, target: Path) -> None:
    if graph == target:
        return
    if has_external_data(graph):  # the graph names its data file: both are written anew
        write_graph(read_graph(graph), target, external_data=True)
    else:
        shutil.copyfile(graph, target)


def _sentence(step: Step) -> str:
    if not step.changed:
        return f"optimise: {step.name}: nothing to do"
    speed = f"{step.per_s_before:.1f} -> {step.per_s_after:.1f} items/s ({step.ratio - 1:+.1%})"
    outcome = "kept" if step.kept else "dropped"
    return f"optimise: {step.name}: {speed}, cosine {step.cosine_min:.7f}, {outcome}"
