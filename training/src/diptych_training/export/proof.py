"""Hold a folder of exported files against the model they came from; knows nothing of runs or publishing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diptych.adapters.onnx_encoder import OnnxEncoder
from diptych.bundle.encoder import Encoder
from diptych.bundle.golden import Golden
from diptych.bundle.manifest import TOKENIZER_FILE, ImageSpec, Parity, TextSpec
from diptych.bundle.text import TextTokenizer, pad
from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.answers import relevance
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.export.files import IMAGE_FILE, TEXT_FILE
from diptych_training.export.golden_items import make_golden
from diptych_training.export.parity import EncodeFunctions, ParitySample, measure_parity
from diptych_training.export.samples import draw_sample

N_PARITY_IMAGES = 1200  # a manifest must speak of 1,000 at least
N_GOLDEN_IMAGES = 18


@dataclass(frozen=True)
class Reference:
    """The float32 model that is the truth, and how its inputs are prepared."""

    encoder: Encoder
    image_spec: ImageSpec
    text_spec: TextSpec


def prove_parity(
    folder: Path, reference: Reference, dataset: PackedDataset, advance: Callable[[int], object]
) -> Parity:
    """Parity of the folder's float32 graphs, as the server runs them, on held-out images and their labels."""
    candidate = OnnxEncoder(folder / IMAGE_FILE, folder / TEXT_FILE)
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, reference.text_spec)
    drawn = draw_sample(dataset, N_PARITY_IMAGES)
    sample = ParitySample(
        pixels=fit_pixels(drawn.images, reference.image_spec),  # (N, S, S, 3)
        input_ids=[tokenizer.ids(text)[0] for text in drawn.texts],
        relevant=relevance(drawn.accepted, drawn.texts),
    )
    return measure_parity(
        EncodeFunctions(reference.encoder.encode_image, reference.encoder.encode_text),
        EncodeFunctions(candidate.encode_image, candidate.encode_text),
        sample,
        partial(pad, spec=reference.text_spec),
        advance,
    )


def golden_of(folder: Path, reference: Reference, dataset: PackedDataset) -> Golden:
    """Golden items with the rows of the reference encoder."""
    drawn = draw_sample(dataset, N_GOLDEN_IMAGES)
    labels = [min(labels) for labels in drawn.accepted]
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, reference.text_spec)
    return make_golden(drawn.images, labels, reference.encoder, tokenizer, reference.image_spec)
