"""Start a run with weights that others trained: an image tower, and a text tower of word pieces."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from diptych.bundle.manifest import ImageSpec
from diptych.bundle.repository import ModelRepository
from diptych.errors import DiptychError
from diptych_training.config import StartConfig, TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, TrainingConfigError
from diptych_training.importing.source_model import SourceModel, open_own_model
from diptych_training.models import ImageConfig, ModelConfig, PhotographsAndDrawingsConfig, WordPiecesConfig
from diptych_training.models.depth import DRAWINGS, IMAGE
from diptych_training.paths import if_missing
from diptych_training.train.align.image_start import image_start
from diptych_training.train.align.text_start import text_start
from diptych_training.train.text_teacher.sentence_encoder import (
    SentenceEncoder,
    cached_embeddings,
    open_sentence_encoder,
)
from diptych_training.train.text_teacher.text_space import TextSpace

KEY = "start_image.drawings"
MAKE_DRAWINGS = (
    "; `diptych-train train pictograms` trains such a model: then --set start_image.drawings=pictograms"
)


@dataclass(frozen=True)
class _DrawingsTower:
    """Architecture of a tower that knows drawings, the size of its images, and of its features."""

    image: ImageConfig
    size: int
    dims: int


def open_drawings(config: TrainConfig, runs_dir: Path, model_repo: Path) -> SourceModel | None:
    """The model whose image tower knows drawings, alone or with photographs, if the recipe names one.

    Raises CheckpointError if it is missing, TrainingConfigError if its tower is another than the recipe's.
    """
    if config.start_image is None or config.start_image.drawings is None:
        return None
    found = _open(config.start_image.drawings, config.name, runs_dir, model_repo)
    model, spec = _model_of(found), ImageSpec.model_validate(found.tables["preprocess"])
    own, other = _drawings_tower(config.model), _drawings_tower(model)
    compared = {
        "model.image.drawings": (own.image, other.image),
        "model.image.drawing_size": (own.size, other.size),
        "model.embed_dim - photograph_dim": (own.dims, other.dims),
        "model.projection": (config.model.projection, model.projection),
        "preprocess.mean": (config.preprocess.mean, spec.mean),  # both towers see the same numbers
        "preprocess.std": (config.preprocess.std, spec.std),
    }
    for title, (ours, theirs) in compared.items():
        if ours != theirs:
            raise TrainingConfigError(f"{KEY}: {title} is {ours}, of {found.title} it is {theirs}")
    return found


def aligned_start(
    config: TrainConfig,
    dataset: PackedDataset,
    texts: Iterable[str],
    space: TextSpace | None,
    drawings: SourceModel | None,
    *,
    device: torch.device,
) -> tuple[Tokenizer | None, dict[str, Tensor]]:
    """The tokenizer, if the text tower brings one, and the weights that do not start random.

    `texts` are those whose word pieces are counted; `space` is that of the text teacher. Raises ImportFailed,
    CheckpointError or TrainingConfigError naming what is missing or does not fit.
    """
    tokenizer, weights = None, dict[str, Tensor]()
    encoder = (
        None if config.text_teacher is None else open_sentence_encoder(config.text_teacher.source, device)
    )
    if isinstance(config.model.text, WordPiecesConfig):
        assert encoder is not None
        assert space is not None
        tokenizer, weights = text_start(config.model.text, encoder, space, texts, config.text.clean)
    if config.start_image is not None:
        weights |= image_start(
            config.start_image,
            config.model,
            config.preprocess,
            embed=lambda names: _embedded(names, encoder, space),
            drawings=None if drawings is None else _drawings_weights(drawings),
            dataset=dataset,
        )
    return tokenizer, weights


def _embedded(
    names: list[str], encoder: SentenceEncoder | None, space: TextSpace | None
) -> NDArray[np.float32]:
    assert encoder is not None
    assert space is not None
    return space.of(cached_embeddings(encoder, names))


def _open(given: str, run: str, runs_dir: Path, model_repo: Path) -> SourceModel:
    """Open a run or version; the name of the run that is about to begin means a version."""
    try:
        if given == run:
            given = f"{given}/{ModelRepository(model_repo).latest(given)}"
        found = open_own_model(StartConfig(source=given), runs_dir, model_repo)
    except DiptychError as error:
        raise CheckpointError(f"{KEY}: {error}{if_missing(model_repo)}{MAKE_DRAWINGS}") from error
    if isinstance(found, CheckpointError):
        raise CheckpointError(f"{KEY}: {found}{MAKE_DRAWINGS}") from found
    return found


def _drawings_tower(model: ModelConfig) -> _DrawingsTower:
    """The half of a pair of towers, or the whole image tower."""
    image = model.image
    if isinstance(image, PhotographsAndDrawingsConfig):
        return _DrawingsTower(image.drawings, image.drawing_size, model.embed_dim - image.photograph_dim)
    return _DrawingsTower(image, model.image_size, model.embed_dim)


def _drawings_weights(source: SourceModel) -> dict[str, Tensor]:
    """The weights of `_drawings_tower` by their names within it."""
    model = _model_of(source)
    is_pair = isinstance(model.image, PhotographsAndDrawingsConfig)
    prefix = f"{IMAGE}{DRAWINGS}" if is_pair else IMAGE
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in source.weights(model).items()
        if name.startswith(prefix)
    }


def _model_of(source: SourceModel) -> ModelConfig:
    return ModelConfig.model_validate(source.tables["model"])
