"""What a run begins with that others trained: an image tower, and a text tower of word pieces."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from diptych.bundle.manifest import ImageSpec
from diptych_training.align.image_start import image_start
from diptych_training.align.text_start import text_start
from diptych_training.config import StartConfig, TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, TrainingConfigError
from diptych_training.finetune.source_model import SourceModel, open_own_model
from diptych_training.models import ModelConfig, PhotographsAndDrawingsConfig, WordPiecesConfig
from diptych_training.text_teacher.cached_embeddings import cached_embeddings
from diptych_training.text_teacher.sentence_encoder import SentenceEncoder, open_sentence_encoder
from diptych_training.text_teacher.text_space import TextSpace

KEY = "start_image.drawings"


def open_drawings(config: TrainConfig, runs_dir: Path, model_repo: Path) -> SourceModel | None:
    """The model whose image tower knows drawings, if the recipe names one.

    Raises CheckpointError if it is missing, TrainingConfigError if its tower is another than the recipe's.
    """
    image = config.model.image
    if config.start_image is None or config.start_image.drawings is None:
        return None
    assert isinstance(image, PhotographsAndDrawingsConfig)
    name = config.start_image.drawings
    found = open_own_model(StartConfig(source=name), runs_dir, model_repo)
    if isinstance(found, CheckpointError):
        raise CheckpointError(f"{KEY}: {found}") from found
    model, spec = _model_of(found), ImageSpec.model_validate(found.tables["preprocess"])
    compared = {
        "model.image.drawings": (image.drawings, model.image),
        "model.image.drawing_size": (image.drawing_size, model.image_size),
        "model.embed_dim - photograph_dim": (config.model.embed_dim - image.photograph_dim, model.embed_dim),
        "model.projection": (config.model.projection, model.projection),
        "preprocess.mean": (config.preprocess.mean, spec.mean),  # both towers see the same numbers
        "preprocess.std": (config.preprocess.std, spec.std),
    }
    for title, (own, other) in compared.items():
        if own != other:
            raise TrainingConfigError(f"{KEY}: {title} is {own}, of {found.title} it is {other}")
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
            drawings=None if drawings is None else drawings.weights(_model_of(drawings)),
            dataset=dataset,
        )
    return tokenizer, weights


def _embedded(
    names: list[str], encoder: SentenceEncoder | None, space: TextSpace | None
) -> NDArray[np.float32]:
    assert encoder is not None
    assert space is not None
    return space.of(cached_embeddings(encoder, names))


def _model_of(source: SourceModel) -> ModelConfig:
    return ModelConfig.model_validate(source.tables["model"])
