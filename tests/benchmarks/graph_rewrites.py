"""What each graph rewrite gains: all rewrites against all but one, on a ViT-B/32 and on the default model.

    python tests/benchmarks/graph_rewrites.py                        # both models, fp32 and int8
    python tests/benchmarks/graph_rewrites.py --only vit-b-32-image  # towers whose name begins so

Prints one markdown table. A gain is how much more processor time the graph takes without the rewrite. Both
graphs run in turns (A, B, B, A) on one thread under the server's session options; a gain is the median over
neighbouring turns, so that a busy machine changes little. The row "none" compares a graph with its own copy:
gains of that size are noise. The ViT-B/32 has seeded random weights and is exported from transformers, as an
import does it.
"""

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from diptych.adapters.onnxruntime.session import open_session
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.export.int8.search import LayerForms
from diptych_training.export.int8.write import prepare
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.export.onnx.graph import Graph
from diptych_training.export.optimise import FLOAT32, REWRITES
from diptych_training.export.proof.calibration import Batch
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.hugging_face.towers import Padding, Towers
from diptych_training.importing.own import load_own_bundle
from support.default_model import DEFAULT_MODEL, default_bundle

BATCHES = (1, 8)
N_OPENED, MIN_TURNS, MIN_SECONDS = 4, 6, 0.7  # of one comparison
N_CALIBRATION = 16
END = 49407  # the id that ends a text of CLIP
LENGTH = 12  # ids of a short caption
HEADER = ("tower", "precision", "rewrite", *(f"batch {n}" for n in BATCHES))


@dataclass(frozen=True)
class Tower:
    """An exported graph without any rewrite, and inputs for it."""

    name: str
    file: Path
    inputs: Batch


def vit_b32(folder: Path) -> Iterator[Tower]:
    """Random weights at full size, of transformers."""
    from transformers import CLIPConfig, CLIPModel  # noqa: PLC0415 (slow to import)

    torch.manual_seed(0)
    model = Towers(CLIPModel(CLIPConfig()), Padding(END, "up_to_padding")).eval()
    image = ImageSpec(
        size=224, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28), interpolation="bicubic",
        resize_mode="shortest", crop="round", alpha="drop",
    )  # fmt: skip
    text = TextSpec(
        context_length=77, clean="clip", pad_to="longest", pad_id=END, prompts={"default": ["{}"]}
    )
    yield from towers("vit-b-32", model, image, text, END, folder)


def default_model(folder: Path) -> Iterator[Tower]:
    """The newest version of the bundled model, exported again."""
    model = load_own_bundle(default_bundle(), Choices())
    end = model.tokenizer.get_vocab_size() - 1
    yield from towers(DEFAULT_MODEL, model.model, model.image, model.text, end, folder)


def towers(
    name: str, model: nn.Module, image: ImageSpec, text: TextSpec, end: int, folder: Path
) -> Iterator[Tower]:
    """Both towers of a model; `end` is the id of the token that ends a text."""
    files = folder / f"{name}-image.onnx", folder / f"{name}-text.onnx"
    if not all(file.exists() for file in files):
        write_image_graph(model, image, files[0])
        write_text_graph(model, text, files[1])
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (N_CALIBRATION, image.size, image.size, 3), dtype=np.uint8)
    ids = rng.integers(1, min(end, 4000), (N_CALIBRATION, LENGTH)).astype(np.int32)
    ids[:, -1] = end
    yield Tower(files[0].stem, files[0], pixels)
    yield Tower(files[1].stem, files[1], ids)


def write_rewritten(
    tower: Tower, rewrites: Sequence[str], precision: str, target: Path, in_float: str = ""
) -> list[str]:
    """Write the graph after these rewrites; the names of those that found something to do.

    In int8 also the kinds of layers that were quantised: all but `in_float`.
    """
    shutil.copyfile(tower.file, target)
    changed = []
    for name in rewrites:
        model = (REWRITES | FLOAT32)[name](Graph(read_graph(target)))
        if model is not None:
            write_graph(model, target)
            changed.append(name)
    if precision == "int8":
        quantiser = prepare(target, [tower.inputs], target.parent)
        kinds = {site.name: type(site).__name__ for site in quantiser.sites}
        plan: LayerForms = {site: "float" if kind == in_float else "static" for site, kind in kinds.items()}
        write_graph(quantiser.build(plan), target)
        changed += sorted(set(kinds.values()))
    return changed


def gain(without: Path, with_all: Path, batch: Batch) -> str:
    """Processor time without over that with the rewrite, as per cent more."""
    ratios: list[float] = []
    for index in range(N_OPENED):  # where a session finds its memory makes a difference, too
        files = (without, with_all) if index % 2 else (with_all, without)
        sessions = {file: open_session(file, n_threads=1, device="cpu") for file in files}
        ratios += turns(sessions[without], sessions[with_all], batch)
    return f"{median(ratios) - 1:+.1%}"


def turns(a: ort.InferenceSession, b: ort.InferenceSession, batch: Batch) -> list[float]:
    """Ratios of the processor times of neighbouring runs."""
    inputs = {a.get_inputs()[0].name: batch}

    def seconds(session: ort.InferenceSession) -> float:
        began = time.process_time()
        session.run(None, inputs)
        return time.process_time() - began

    seconds(a), seconds(b)  # the first run allocates
    ratios: list[float] = []
    started = time.perf_counter()
    while len(ratios) < MIN_TURNS or time.perf_counter() - started < MIN_SECONDS:
        first, second, third, fourth = seconds(a), seconds(b), seconds(b), seconds(a)
        ratios += [first / second, fourth / third]
    return ratios


def rows(tower: Tower, precision: str, folder: Path) -> Iterator[list[str]]:
    """One row for each rewrite, and each kind of int8 layer, that found something to do."""
    whole, part = folder / "whole.onnx", folder / "part.onnx"

    def row(name: str, rewrites: Sequence[str], in_float: str = "") -> list[str]:
        write_rewritten(tower, rewrites, precision, part, in_float)
        gains = [gain(part, whole, tower.inputs[:n]) for n in BATCHES]
        return [tower.name, precision, name, *gains]

    every = [*REWRITES, *(FLOAT32 if precision == "fp32" else ())]
    changed = write_rewritten(tower, every, precision, whole)
    yield row("none", every)
    for name in changed:
        if name in every:
            yield row(name, [one for one in every if one != name])
        else:
            yield row(f"int8 of {name}", every, in_float=name)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="start of a tower's name")
    parser.add_argument("--precision", choices=("fp32", "int8"), action="append")
    parser.add_argument("--exports", type=Path, help="folder that keeps the exported graphs")
    args = parser.parse_args()
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
    with TemporaryDirectory() as name:
        exports = args.exports or Path(name)
        for tower in (*vit_b32(exports), *default_model(exports)):
            for precision in args.precision or ("fp32", "int8"):
                if tower.name.startswith(args.only):
                    for row in rows(tower, precision, Path(name)):
                        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
