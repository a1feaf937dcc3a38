"""The image tower that a run starts from, put together from models that others trained.

ConSE (Norouzi et al. 2014, "Zero-shot learning by convex combination of semantic embeddings"): a classifier's
probabilities weigh the embeddings of its class names, so its images are in the space of a sentence encoder
without a single pair of image and text.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diptych.bundle.manifest import ImageSpec
from diptych_training.config.start import ImageStartConfig
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.errors import CheckpointError, ImportFailed
from diptych_training.importing.pretrained import load_image_tower, load_lite
from diptych_training.models import EfficientNetLiteConfig, ModelConfig, PhotographsAndDrawingsConfig
from diptych_training.models.depth import DRAWINGS, GATE, IMAGE, PHOTOGRAPHS
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.paths import expanded, package_folder
from diptych_training.train.align.class_names import class_names
from diptych_training.train.align.gate import Classifier, drawing_features, fit_gate

Embed = Callable[[list[str]], NDArray[np.float32]]  # N texts -> (N, dims), rows of unit norm
WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
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
        clip_art = None if start.clip_art is None else read_dataset(expanded(start.clip_art))
        weight, bias = _gate(file, tower, model, spec, (dataset, clip_art))
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
    file: Path,
    tower: dict[str, Tensor],
    model: ModelConfig,
    spec: ImageSpec,
    drawings: tuple[PackedDataset, PackedDataset | None],
) -> tuple[Tensor, Tensor]:
    image = model.image
    assert isinstance(image, PhotographsAndDrawingsConfig)
    module = PhotographsAndDrawings(image, model.image_size, model.embed_dim).eval()
    rest = {f"{IMAGE}{name}": tensor for name, tensor in module.state_dict().items()}
    try:
        module.load_state_dict({name.removeprefix(IMAGE): t for name, t in (rest | tower).items()})
    except RuntimeError as error:
        raise CheckpointError(f"start_image.drawings does not fit model.image.drawings: {error}") from error
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    features = drawing_features(
        *drawings, spec, lambda images: module.photographs.pooled((images - mean) / std)
    )
    return fit_gate(features, classifier_of(file, image.photographs))


def classifier_of(file: Path, lite: EfficientNetLiteConfig) -> Classifier:
    """Read the classifier from the file, whose batch normalisations are not folded yet."""
    with_norms = load_lite(file, lite.model_copy(update={"norm": True}))
    last = f"blocks.{len(lite.stages)}.bn"
    return Classifier(
        gain=with_norms[f"{last}.weight"],
        bias=with_norms[f"{last}.bias"],
        rows=with_norms["classifier.weight"],
    )
