"""Compare a folder of exported graphs with the model they were made from, and check the bounds of
publication.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.encoder import Encoder
from diptych.bundle.golden import Golden
from diptych.bundle.manifest import TOKENIZER_FILE, ImageSpec, Parity, TextSpec
from diptych.bundle.parity import BOUNDS, MIN_IMAGES, MIN_TEXTS, broken_bounds
from diptych.bundle.repository import STAGING_PREFIX
from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ParityFailed, TooFewSamples
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.evaluate.proof_set.samples import N_PARITY_IMAGES, draw_sample
from diptych_training.evaluate.ranking import relevance
from diptych_training.export.fp16.simulate import write_float16_simulation
from diptych_training.export.onnx.bundle_files import graph_files
from diptych_training.export.proof.golden_items import make_golden
from diptych_training.export.proof.parity import (
    MIN_JUDGED,
    EncodeFunctions,
    ParitySample,
    SampleEmbeddings,
    embed,
    measure_parity,
)
from diptych_training.reports.markdown import markdown_table

COUNTS = ("n_images is", "n_texts is")  # prefixes of reasons about the sample, not the model


def require_parity(parity: Parity, precision: str) -> None:
    """Raise ParityFailed naming the precision, each broken bound and its value.

    Raises TooFewSamples if only the numbers of images and texts are below their bounds.
    """
    broken = broken_bounds(parity, precision)
    if broken and all(reason.startswith(COUNTS) for reason in broken):
        raise TooFewSamples(
            f"{precision} has no sufficient proof: {parity.n_images:,} images and {parity.n_texts:,} texts "
            f"were compared, at least {MIN_IMAGES:,} and {MIN_TEXTS} are needed"
        )
    if broken:
        raise ParityFailed(f"{precision} does not match the float32 original: {'; '.join(broken)}")


def parity_table(parities: dict[str, Parity], n_texts_left_out: int | None = None) -> str:
    """Markdown table: a row for each measure with its bound, and one for the number of images judged.

    `n_texts_left_out`: number of texts that were not measured, since their ids differ from the original's.
    """
    bounds: dict[str, dict[str, float]] = {
        name: {bound.measure: bound.lowest for bound in BOUNDS[name]} for name in parities
    }
    rows = [
        [measure, *(_cell(getattr(p, measure), bounds[name].get(measure)) for name, p in parities.items())]
        for measure in Parity.model_fields
    ]
    rows.append(["images judged by top1_agreement", *(_judged(parity) for parity in parities.values())])
    if n_texts_left_out is not None:
        rows.append(
            ["texts left out: other ids than in the original", *[f"{n_texts_left_out:,}"] * len(parities)]
        )
    return markdown_table(["parity", *parities], rows)


def _judged(parity: Parity) -> str:
    n_clear = parity.n_images - parity.n_near_ties
    n_judged = n_clear if n_clear >= MIN_JUDGED * parity.n_images else parity.n_images
    return f"{n_judged:,} of {parity.n_images:,}"


def _cell(value: float, lowest: float | None) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.7f}"
    return text if lowest is None else f"{text} (>= {lowest:g})"


N_GOLDEN_IMAGES = 18

Advance = Callable[[int], object]  # receives the number of images embedded since the last call


@dataclass(frozen=True)
class Reference:
    """The float32 reference model, and how its inputs are preprocessed."""

    encoder: Encoder
    image_spec: ImageSpec
    text_spec: TextSpec


@dataclass(frozen=True)
class Proof:
    """Reference embeddings and inputs for every precision of a model; the model can be freed afterwards."""

    embedded: SampleEmbeddings
    sample: ParitySample
    text_spec: TextSpec
    golden: Golden
    n_texts_left_out: int | None = None  # texts whose ids differ from the original's, for imports


def prove_parity(folder: Path, precision: str, proof: Proof, advance: Advance) -> Parity:
    """Parity of the folder's graphs of one precision, run as by the server; fp16 is simulated."""
    with _graphs_to_run(folder, precision) as (image_graph, text_graph):
        candidate = OnnxEncoder(image_graph, text_graph)
        return measure_parity(
            proof.embedded,
            EncodeFunctions(candidate.encode_image, candidate.encode_text),
            proof.sample,
            partial(pad, spec=proof.text_spec),
            advance,
        )


@contextmanager
def _graphs_to_run(folder: Path, precision: str) -> Iterator[list[Path]]:
    """The published files, or simulations for fp16: a CPU would run those in float32 and hide their error."""
    files = [folder / file for file in graph_files(precision)]
    if precision != "fp16":
        yield files
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=STAGING_PREFIX) as folder_name:
        simulated = [Path(folder_name) / file.name for file in files]
        for file, target in zip(files, simulated, strict=True):
            write_float16_simulation(file, target)
        yield simulated


def proof_on_dataset(
    folder: Path,
    reference: Reference,
    dataset: PackedDataset,
    advance: Advance,
    golden: PackedDataset | None = None,
) -> Proof:
    """Embed held-out images and their labels with the reference model, using the folder's tokenizer.

    Golden items, which a bundle shows to everybody, are drawn from the data set `golden` if it is given.
    """
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, reference.text_spec)
    sample = sample_of_dataset(tokenizer, dataset, reference.image_spec)
    encode = EncodeFunctions(reference.encoder.encode_image, reference.encoder.encode_text)
    return Proof(
        embedded=embed(encode, sample, partial(pad, spec=reference.text_spec), advance),
        sample=sample,
        text_spec=reference.text_spec,
        golden=_golden(tokenizer, reference, golden or dataset),
    )


def sample_of_dataset(
    tokenizer: TextTokenizer, dataset: PackedDataset, image_spec: ImageSpec
) -> ParitySample:
    """Preprocessed held-out images and their labels; always the same ones."""
    drawn = draw_sample(dataset, N_PARITY_IMAGES)
    return ParitySample(
        pixels=fit_pixels(drawn.images, image_spec),  # (N, S, S, 3)
        input_ids=[tokenizer.ids(text)[0] for text in drawn.texts],
        relevant=relevance(drawn.accepted, drawn.texts),
    )


def _golden(tokenizer: TextTokenizer, reference: Reference, dataset: PackedDataset) -> Golden:
    drawn = draw_sample(dataset, N_GOLDEN_IMAGES)
    labels = [min(labels) for labels in drawn.accepted]
    images = [Image.fromarray(np.asarray(image)) for image in drawn.images]
    return make_golden(images, labels, reference.encoder, tokenizer, reference.image_spec)
