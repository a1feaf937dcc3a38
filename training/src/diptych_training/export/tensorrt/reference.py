"""The reference for a version's plans: its own float32 graphs on a CPU."""

import math
from functools import partial
from pathlib import Path

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.golden import read_golden
from diptych.bundle.manifest import GOLDEN_FILE, TOKENIZER_FILE, Manifest, Parity
from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ExportError
from diptych_training.export.onnx.bundle_files import EXACT
from diptych_training.export.proof.parity import EncodeFunctions, ParitySample, embed
from diptych_training.export.proof.photo_sample import N_PROOF_IMAGES, sample_of_photographs
from diptych_training.export.proof.prove import Advance, Proof, sample_of_dataset
from diptych_training.export.proof.samples import N_PARITY_IMAGES

IMPORTED = "import"  # `source.kind` of an imported version


def n_proof_images(manifest: Manifest) -> int:
    """Number of images in the proof of a version."""
    return N_PROOF_IMAGES if is_imported(manifest) else N_PARITY_IMAGES


def proof_by_graphs(
    manifest: Manifest, folder: Path, staged: Path, dataset: PackedDataset | None, advance: Advance
) -> Proof:
    """Embed real items with the float32 graphs in `folder`, which are themselves proven against the model.

    The items are held-out images of the data set, or photographs without one, as for an imported version.
    Pixels may go to `staged`; the caller removes them. Raises ExportError, DataError.
    """
    if EXACT not in manifest.precisions:
        raise ExportError(f"{manifest.name}/{manifest.version} has no {EXACT}, with which plans are compared")
    files = manifest.precisions[EXACT]
    encoder = OnnxEncoder(folder / files.image_file, folder / files.text_file)
    sample = _sample(manifest, folder, staged, dataset)
    encode = EncodeFunctions(encoder.encode_image, encoder.encode_text)
    return Proof(
        embedded=embed(encode, sample, partial(pad, spec=manifest.text), advance),
        sample=sample,
        text_spec=manifest.text,
        golden=read_golden(folder / GOLDEN_FILE),  # of the model itself
    )


def parity_with_model(found: Parity, exact: Parity | None) -> Parity:
    """Parity with the float32 graphs -> a bound on the parity with the model.

    Angles add up at worst: a plan at angle a from the graphs, which are at angle b from the model, is at most
    at a + b from the model.
    """
    if exact is None:
        return found
    angles = math.acos(min(1.0, found.cosine_min)) + math.acos(min(1.0, exact.cosine_min))
    return found.model_copy(update={"cosine_min": math.cos(min(angles, math.pi))})


def _sample(manifest: Manifest, folder: Path, staged: Path, dataset: PackedDataset | None) -> ParitySample:
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, manifest.text)
    if dataset is None:
        return sample_of_photographs(staged, tokenizer, N_PROOF_IMAGES, manifest.image)
    return sample_of_dataset(tokenizer, dataset, manifest.image)


def is_imported(manifest: Manifest) -> bool:
    """True for an imported version, whose proof uses photographs instead of a data set."""
    return manifest.source.get("kind") == IMPORTED
