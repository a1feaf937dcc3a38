"""Calibration inputs for quantised and rewritten graphs; never those of the proof."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.adapters.onnxruntime.session import open_session
from diptych.bundle.encoder import Embeddings, Pixels
from diptych.bundle.manifest import TOKENIZER_FILE, ImageSpec, TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ExportError
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.evaluate.proof_set.samples import draw_sample
from diptych_training.export.proof.parity import row_cosines

N_CALIBRATION_IMAGES = 192
BATCH_SIZE = 8
BELOW_MEAN = 0.015  # int8 aims at a mean of 0.995, and no golden item may be below 0.98

Batch = NDArray[np.uint8] | NDArray[np.int32]
Check = Callable[[Path], float]


@dataclass(frozen=True)
class Calibration:
    """Batches of pixels (B, S, S, 3) uint8 and of input_ids (B, L) int32."""

    pixels: list[Batch]
    input_ids: list[Batch]


def calibration_on_dataset(
    folder: Path, dataset: PackedDataset, image_spec: ImageSpec, text_spec: TextSpec
) -> Calibration:
    """Calibration inputs from training images and their labels: the proof uses held-out ones.

    Raises ExportError if the data set has no training images.
    """
    drawn = draw_sample(dataset, N_CALIBRATION_IMAGES, splits=("train",))
    if not drawn.texts:
        raise ExportError(
            f"{dataset.path} has no training images, which int8 and graph rewrites need for calibration: "
            "pack some with `data pack --train`, or pass --no-optimise and --precisions fp32"
        )
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, text_spec)
    rows = [tokenizer.ids(text)[0] for text in drawn.texts]
    return make_calibration(fit_pixels(drawn.images, image_spec), rows, text_spec)


def make_calibration(pixels: Pixels, rows: Sequence[NDArray[np.int32]], spec: TextSpec) -> Calibration:
    """Make batches from N preprocessed images and M unpadded rows of ids."""
    return Calibration(
        pixels=[pixels[part] for part in batch_slices(len(pixels))],
        input_ids=[pad(rows[part], spec) for part in batch_slices(len(rows))],
    )


def batch_slices(n_items: int) -> list[slice]:
    """Slices of BATCH_SIZE items; the last may be shorter."""
    return [slice(start, start + BATCH_SIZE) for start in range(0, n_items, BATCH_SIZE)]


def split(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Two thirds for calibration, one third for scoring; a single batch is used for both."""
    judged = list(batches[2::3]) or list(batches)
    return [batch for index, batch in enumerate(batches) if index % 3 != 2], judged


def make_check(exact_graph: Path, batches: Sequence[Batch]) -> Check:
    """`check(candidate graph)` -> cosine between its rows and those of the float32 graph.

    It is the mean, or the lowest plus `BELOW_MEAN` where that is less.
    """
    expected = run_graph(exact_graph, batches)

    def check(candidate: Path) -> float:
        cosines = row_cosines(expected, run_graph(candidate, batches))
        return float(min(cosines.mean(), cosines.min() + BELOW_MEAN))

    return check


def run_graph(graph: Path, batches: Sequence[Batch]) -> Embeddings:
    """Run one tower on the CPU, opened as by the server: embeddings of all batches, (N, D) float32."""
    session = open_session(graph, n_threads=0, device="cpu")
    run = partial(session.run, None)
    name = session.get_inputs()[0].name
    rows: Embeddings = np.concatenate([run({name: batch})[0] for batch in batches])
    return rows
