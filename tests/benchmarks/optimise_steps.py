"""What each rewriting of a graph gains: the default model, a ViT-B/32 image tower and its text tower.

Prints one markdown table for each graph. Every rewriting is measured against the graph as it is exported,
both run by one thread of onnxruntime with all of its own optimisations on, in turns (A, B, B, A), in items a
second of processor time, so that a busy machine changes little. The first row is the same graph once more:
differences of its size are noise. The ViT-B/32 has seeded random weights: its speed is real, its cosines are
not those of trained weights. A published graph has been through the portable rewritings already: nothing is
left to do there. Takes some ten minutes. `--graph FILE` measures another graph instead.
"""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import onnxscript.optimizer
import onnxscript.rewriter
import torch
from numpy.typing import NDArray
from onnxruntime.transformers.optimizer import optimize_model
from onnxscript import ir
from onnxscript.rewriter.ort_fusions import optimize_for_ort
from tqdm import tqdm

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.evaluate.table import markdown_table
from diptych_training.export.calibration import Batch
from diptych_training.export.graphs import write_image_graph, write_text_graph
from diptych_training.export.onnx_files import read_graph
from diptych_training.export.optimise import FLOAT32, PORTABLE, Candidate
from diptych_training.export.parity import row_cosines
from diptych_training.models import ModelConfig, TextConfig, ViTConfig, build_model

BATCHES = (1, 8)
MIN_SECONDS, MAX_SECONDS, MIN_ROUNDS = 0.3, 10.0, 12  # for one comparison
LENGTH = 12  # ids of a short caption
MAX_ID = 4000
HEADER = ["rewriting", "operators", *(f"batch {n}: items/s" for n in BATCHES), "cosine_min"]


class Graph:
    """One graph with one input and one output, run by one thread: all the work counts as that thread's."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self._source,) = (port.name for port in self._session.get_inputs())

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """(B, ...) -> (B, D)."""
        (rows,) = self._session.run(None, {self._source: batch})
        return np.asarray(rows, np.float32)

    def seconds(self, batch: Batch) -> float:
        """Processor time of one run."""
        began = time.thread_time()
        self.run(batch)
        return time.thread_time() - began


def compared(before: Graph, after: Graph, batch: Batch) -> str:
    """Runs in turns A, B, B, A, ...: medians, and the median ratio of runs that were neighbours.

    A shared machine may change its speed by a quarter for seconds at a time; neighbours mostly have the same.
    """
    before.run(batch)  # the first run allocates
    after.run(batch)
    seconds: list[tuple[float, float]] = []
    started = time.perf_counter()
    while (spent_s := time.perf_counter() - started) < MAX_SECONDS and (
        spent_s < MIN_SECONDS or len(seconds) < MIN_ROUNDS
    ):
        is_before_first = len(seconds) % 2 == 0
        first, second = (before, after) if is_before_first else (after, before)
        times = first.seconds(batch), second.seconds(batch)
        seconds.append(times if is_before_first else times[::-1])
    spent_before, spent_after = np.array(seconds).T
    per_s = [len(batch) / float(np.median(spent)) for spent in (spent_before, spent_after)]
    return f"{per_s[0]:.1f} -> {per_s[1]:.1f} ({float(np.median(spent_before / spent_after)) - 1:+.1%})"


def saved_by_onnxruntime(level: ort.GraphOptimizationLevel) -> Callable[[Path, Path], bool]:
    """onnxruntime's own optimisation of one level, written to a file."""

    def rewrite(source: Path, target: Path) -> bool:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(target)
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return True

    return rewrite


def folded_by_onnxscript(source: Path, target: Path) -> bool:
    """The exporter's own optimiser and rewriting rules, once more."""
    model = ir.load(source)
    onnxscript.optimizer.optimize(model)
    ir.save(onnxscript.rewriter.rewrite(model), target)
    return True


def fused_by_onnxscript(source: Path, target: Path) -> bool:
    """Attention, GELU and norm fusions for onnxruntime, made for this exporter's graphs."""
    model, _ = optimize_for_ort(ir.load(source))
    ir.save(model, target)
    return True


def fused_by_onnxruntime(model_type: str) -> Callable[[Path, Path], bool]:
    """onnxruntime's offline transformer fusions, without its own optimiser before them."""

    def rewrite(source: Path, target: Path) -> bool:
        optimize_model(str(source), model_type=model_type, opt_level=0).save_model_to_file(str(target))
        return True

    return rewrite


def same(source: Path, target: Path) -> bool:
    """No rewriting at all."""
    shutil.copyfile(source, target)
    return True


LEVELS = ort.GraphOptimizationLevel
CANDIDATES = (
    Candidate("none (noise)", same),
    *PORTABLE,
    *FLOAT32,
    Candidate("onnxscript: fold and rewrite", folded_by_onnxscript),
    Candidate("onnxscript: fusions for onnxruntime", fused_by_onnxscript),
    Candidate("onnxruntime: basic", saved_by_onnxruntime(LEVELS.ORT_ENABLE_BASIC)),
    Candidate("onnxruntime: extended", saved_by_onnxruntime(LEVELS.ORT_ENABLE_EXTENDED)),
    Candidate("onnxruntime: all, layout", saved_by_onnxruntime(LEVELS.ORT_ENABLE_ALL)),
    Candidate("onnxruntime: fusions `clip`", fused_by_onnxruntime("clip")),
    Candidate("onnxruntime: fusions `vit`", fused_by_onnxruntime("vit")),
)


def write_vit_b32(folder: Path) -> list[Path]:
    """The exported towers of a ViT-B/32 CLIP with random weights."""
    image = ViTConfig(patch_size=32, width=768, layers=12, heads=12)
    text = TextConfig(vocab_size=49408, context_length=77, width=512, layers=12, heads=8)
    torch.manual_seed(0)
    model = build_model(ModelConfig(embed_dim=512, image_size=224, image=image, text=text)).eval()
    image_spec = ImageSpec(
        size=224,
        mean=(0.48, 0.46, 0.41),
        std=(0.27, 0.26, 0.28),
        interpolation="bicubic",
        resize_mode="shortest",
        fill_color=(0, 0, 0),
        crop="round",
        alpha="white",
    )
    text_spec = TextSpec(
        context_length=77, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]}
    )
    files = [folder / "vit-b-32-image.onnx", folder / "vit-b-32-text.onnx"]
    write_image_graph(model, image_spec, files[0])
    write_text_graph(model, text_spec, files[1])
    return files


def batches_for(graph: Path) -> list[Batch]:
    """Random pixels, or random ids that end with the largest one."""
    (port,) = onnx.load(graph, load_external_data=False).graph.input
    rng = np.random.default_rng(0)
    if port.name == "pixels":
        side = port.type.tensor_type.shape.dim[1].dim_value
        return [rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8) for n in BATCHES]
    ids = [rng.integers(1, MAX_ID, (n, LENGTH)).astype(np.int32) for n in BATCHES]
    for rows in ids:
        rows[:, -1] = MAX_ID
    return ids


def measured_row(candidate: Candidate, source: Path, target: Path) -> list[str]:
    """One line of the table."""
    try:
        changed = candidate.rewrite(source, target)
        before, after = Graph(source), Graph(target if changed else source)
    except Exception as error:  # a foreign optimiser fails in its own ways: a finding, not a fault
        return [candidate.name, f"failed: {type(error).__name__}", *["-"] * (len(HEADER) - 2)]
    if not changed:
        return [candidate.name, "nothing to do", *["-"] * (len(HEADER) - 2)]
    pairs = [compared(before, after, batch) for batch in batches_for(source)]
    cosine = min(float(row_cosines(before.run(b), after.run(b)).min()) for b in batches_for(source))
    return [candidate.name, new_operators(source, target), *pairs, f"{cosine:.7f}"]


def new_operators(source: Path, target: Path) -> str:
    """Which operators the rewriting made, and how many nodes it saved."""
    before, after = (
        Counter(node.op_type for node in read_graph(file).graph.node) for file in (source, target)
    )
    made = ", ".join(f"{count} {name}" for name, count in sorted((after - before).items()))
    return f"{before.total()} -> {after.total()} nodes; {made or 'no new'}"


def print_table(graph: Path, candidates: Sequence[Candidate], folder: Path) -> None:
    """Measure all candidates on one graph."""
    rows = [
        measured_row(candidate, graph, folder / f"{index}.onnx")
        for index, candidate in enumerate(tqdm(candidates, desc=graph.name, unit="rewriting"))
    ]
    print(f"\n## {graph.parent.name}/{graph.name}\n\n{markdown_table(HEADER, rows)}\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("model_repo/pictograms/4"))
    parser.add_argument("--graph", type=Path, action="append", help="measure this graph only; repeatable")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        default = [args.model / "image_encoder.onnx", args.model / "text_encoder.onnx"]
        for graph in args.graph or [*default, *write_vit_b32(folder)]:
            print_table(graph, CANDIDATES, folder)


if __name__ == "__main__":
    main()
