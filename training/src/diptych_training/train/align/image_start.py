"""The image tower that a run starts from, put together from models that others trained.

ConSE (Norouzi et al. 2014, "Zero-shot learning by convex combination of semantic embeddings"): a classifier's
probabilities weigh the embeddings of its class names, so its images are in the space of a sentence encoder
without a single pair of image and text.

The gate between photographs and drawings is fitted without a photograph. Features of photographs are made up
from what the classifier remembers of its training: the last batch normalisation has the mean and deviation of
each feature over ImageNet, and a class's row of the classifier has the direction in which its photographs
differ from that mean. Drawings are real.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diptych.bundle.manifest import ImageSpec
from diptych_training.config.start import ImageStartConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, ImportFailed
from diptych_training.evaluate.benchmark.logistic import Labelled, fit
from diptych_training.evaluate.proof_set.samples import draw_sample
from diptych_training.importing.pretrained import load_image_tower, load_lite
from diptych_training.models import EfficientNetLiteConfig, ModelConfig, PhotographsAndDrawingsConfig
from diptych_training.models.depth import DRAWINGS, GATE, IMAGE, PHOTOGRAPHS
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.paths import expanded, package_folder
from diptych_training.progress import each
from diptych_training.train.align.class_names import class_names

N_DRAWN = 4_000  # values of a normal distribution that stand for it
STRENGTH = 4.0  # of a class's direction; 2 to 8 give the same gate
NOISE = 0.3  # deviation of each feature, as a share of its mean
L2 = 2_000.0  # strong: the gate must hold for photographs that are unlike the made-up ones
DRAWING, PHOTOGRAPH = 0, 1
MAX_ACTIVATION = 6.0  # of ReLU6


@dataclass(frozen=True)
class Classifier:
    """A classifier: gain and bias (C,) of its last batch normalisation, and its rows (K, C)."""

    gain: Tensor
    bias: Tensor
    rows: Tensor


def fit_gate(drawings: NDArray[np.float32], classifier: Classifier, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(N, C) pooled features of drawings -> weight (1, C) and bias (1,) of the logit that an image is a
    photograph.
    """
    made_up = _photographs(len(drawings), classifier, np.random.default_rng(seed))
    labels = np.repeat([DRAWING, PHOTOGRAPH], len(drawings)).astype(np.int64)
    found = fit(Labelled(np.concatenate([drawings, made_up]), labels), 2, L2)
    weight, bias = (part[PHOTOGRAPH] - part[DRAWING] for part in (found.weight, found.bias))
    return weight.float().unsqueeze(0), bias.float().unsqueeze(0)


def _photographs(n: int, classifier: Classifier, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, C): the mean feature of ImageNet, moved in the direction of a random class, with noise."""
    normal = torch.from_numpy(rng.standard_normal((N_DRAWN, 1), dtype=np.float32))
    spread = classifier.bias + classifier.gain.abs() * normal  # (N_DRAWN, C)
    mean = spread.clamp(0, MAX_ACTIVATION).mean(dim=0).numpy()
    rows = (classifier.rows - classifier.rows.mean(dim=0)).numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    noise = rng.standard_normal((n, len(mean)), dtype=np.float32)
    moved = mean + STRENGTH * rows[rng.integers(len(rows), size=n)] + NOISE * mean * noise
    return np.maximum(moved, 0, dtype=np.float32)


Embed = Callable[[list[str]], NDArray[np.float32]]  # N texts -> (N, dims), rows of unit norm
WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
N_DRAWINGS = 3_000  # that the gate is fitted on, about as many from every source
BATCH_SIZE = 32
N_NAMED = 3  # files that an error names


def image_start(
    start: ImageStartConfig,
    model: ModelConfig,
    spec: ImageSpec,
    *,
    embed: Embed,
    drawings: dict[str, Tensor] | None,
    dataset: PackedDataset,
) -> dict[str, Tensor]:
    """The weights of the image tower by name, without what starts random.

    `embed` gives the embeddings of class names; `drawings` are the weights of a tower that knows drawings, by
    their names within it. Raises ImportFailed, CheckpointError or TrainingConfigError naming what is missing
    or does not fit.
    """
    file = weights_file(start.source)
    tower, image = load_image_tower(file, model), model.image
    is_pair = isinstance(image, PhotographsAndDrawingsConfig)
    prefix = f"{IMAGE}{PHOTOGRAPHS}" if is_pair else IMAGE
    if start.classes is not None:
        tower[f"{prefix}class_embedding"] = _class_embedding(start.classes, lite_of(model), embed)
    if isinstance(image, PhotographsAndDrawingsConfig):
        assert drawings is not None
        tower |= {f"{IMAGE}{DRAWINGS}{name}": tensor for name, tensor in drawings.items()}
        weight, bias = _gate(file, tower, model, spec, dataset)
        tower |= {f"{IMAGE}{GATE}weight": weight, f"{IMAGE}{GATE}bias": bias}
    return tower


def weights_file(source: str) -> Path:
    """The file itself, or the only file of weights in a folder or an installed Python package.

    Raises ImportFailed if there is none, or several.
    """
    given = expanded(source)
    if given.is_file():
        return given
    folder = given if given.is_dir() else package_folder(source)
    if folder is None:
        raise ImportFailed(f"start_image.source: {source}: no such file, folder or installed Python package")
    found = sorted(file for file in folder.rglob("*") if file.suffix in WEIGHT_SUFFIXES)
    if len(found) != 1:
        kind = "folder" if folder == given else "package"
        named = "".join(f", {file.relative_to(folder)}" for file in found[:N_NAMED])
        raise ImportFailed(
            f"start_image.source: the {kind} {source} has {len(found)} files of weights, not one{named}: "
            "name the file"
        )
    return found[0]


def lite_of(model: ModelConfig) -> EfficientNetLiteConfig | None:
    """The EfficientNet-Lite of an image tower; None if it has none."""
    image = model.image
    if isinstance(image, PhotographsAndDrawingsConfig):
        return image.photographs
    return image if isinstance(image, EfficientNetLiteConfig) else None


def _class_embedding(source: str, lite: EfficientNetLiteConfig | None, embed: Embed) -> Tensor:
    names = class_names(source)
    n_classes = None if lite is None else lite.classes
    if len(names) != n_classes:
        raise CheckpointError(
            f"start_image.classes: {source} has {len(names):,} names, the classifier has {n_classes} classes"
        )
    return torch.from_numpy(embed(names))


def _gate(
    file: Path, tower: dict[str, Tensor], model: ModelConfig, spec: ImageSpec, dataset: PackedDataset
) -> tuple[Tensor, Tensor]:
    image = model.image
    assert isinstance(image, PhotographsAndDrawingsConfig)
    module = PhotographsAndDrawings(image, model.image_size, model.embed_dim).eval()
    rest = {f"{IMAGE}{name}": tensor for name, tensor in module.state_dict().items()}
    try:
        module.load_state_dict({name.removeprefix(IMAGE): t for name, t in (rest | tower).items()})
    except RuntimeError as error:
        raise CheckpointError(f"start_image.drawings does not fit model.image.drawings: {error}") from error
    pixels = draw_sample(dataset, N_DRAWINGS, splits=("train",)).images  # (N, s, s, 3)
    known = _classifier(file, image.photographs)
    starts = range(0, len(pixels), BATCH_SIZE)
    with torch.inference_mode():
        pooled = [
            module.photographs.pooled(_prepared(pixels[start : start + BATCH_SIZE], spec)).numpy()
            for start in each(starts, desc="features of drawings for the gate", unit="part")
        ]
    return fit_gate(np.concatenate(pooled), known)


def _classifier(file: Path, lite: EfficientNetLiteConfig) -> Classifier:
    """Read the classifier from the file, whose batch normalisations are not folded yet."""
    with_norms = load_lite(file, lite.model_copy(update={"norm": True}))
    last = f"blocks.{len(lite.stages)}.bn"
    return Classifier(
        gain=with_norms[f"{last}.weight"],
        bias=with_norms[f"{last}.bias"],
        rows=with_norms["classifier.weight"],
    )


def _prepared(pixels: NDArray[np.uint8], spec: ImageSpec) -> Tensor:
    """(B, s, s, 3) uint8 -> (B, 3, S, S) float32, normalised; small images become blocks of equal pixels."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    images = torch.nn.functional.interpolate(images, size=(spec.size, spec.size), mode="nearest")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return (images - mean) / std
