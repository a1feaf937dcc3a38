"""Translate open_clip's image preprocessing to and from a bundle's ImageSpec, and embed with the library."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import ImageSpec
from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.open_clip.architecture import Architecture
from diptych_training.importing.open_clip.bpe import TextProcessing

INTERPOLATIONS = ("bicubic", "bilinear")  # those that the library supports at inference
RESIZE_MODES = ("shortest", "longest", "squash")


def image_spec(architecture: Architecture, image_size: Any, choices: Choices) -> ImageSpec:
    """The checkpoint's preprocessing, for the image size of its tower.

    Raises ImportFailed naming a value that is missing, that contradicts `choices`, or that a bundle cannot
    express.
    """
    stated = architecture.preprocess
    if stated.get("mode") != "RGB":
        raise ImportFailed(f"preprocess_cfg.mode is {stated.get('mode')}: only RGB is supported")
    try:
        return ImageSpec(
            size=_square(image_size, choices),
            mean=_channels(_stated_or_given("mean", "--mean", stated, choices)),
            std=_channels(_stated_or_given("std", "--std", stated, choices)),
            interpolation=_one_of(INTERPOLATIONS, "interpolation", "--interpolation", stated, choices),
            resize_mode=_one_of(RESIZE_MODES, "resize_mode", "--resize-mode", stated, choices),
            fill_color=_channels(stated["fill_color"]),
            crop="round",
            alpha="drop",  # the library converts with PIL, which drops transparency
        )
    except ValidationError as error:
        raise ImportFailed(f"a bundle cannot express preprocess_cfg: {error}") from error


def preprocess_config(spec: ImageSpec) -> dict[str, Any]:
    """The spec in open_clip's terms, for its own transform."""
    keys = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
    return {key: getattr(spec, key) for key in keys}


def _square(size: Any, choices: Choices) -> int:
    height, width = size if isinstance(size, Sequence) else (size, size)
    if height != width:
        raise ImportFailed(f"the tower takes {height} x {width} pixels: only square images are supported")
    if choices.image_size not in (None, height):
        raise ImportFailed(
            f"the checkpoint's image size is {height} pixels, --image-size is {choices.image_size}"
        )
    return int(height)


def _stated_or_given(key: str, flag: str, stated: dict[str, Any], choices: Choices) -> Any:
    given, stated_value = getattr(choices, key), stated.get(key)
    if stated_value is None and given is None:
        raise ImportFailed(f"the checkpoint does not state the image {key}: pass {flag}")
    if stated_value is None or given is None:
        return stated_value if given is None else given
    if _plain(stated_value) != _plain(given):
        raise ImportFailed(f"the checkpoint's image {key} is {stated_value}, {flag} says {given}")
    return stated_value


def _one_of(allowed: Sequence[str], key: str, flag: str, stated: dict[str, Any], choices: Choices) -> Any:
    value = _stated_or_given(key, flag, stated, choices)
    if value not in allowed:
        raise ImportFailed(
            f"image {key} is {value}: must be one of {', '.join(allowed)}; pass it with {flag}"
        )
    return value


def _channels(value: Any) -> Any:
    """Three channels; the library allows one number for all."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * 3


def _plain(value: Any) -> Any:
    return _channels(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


BATCH_SIZE = 16

Item = TypeVar("Item")


class OpenClipEncoder:
    """The library's transform, tokenizer and model, float32; implements `LibraryEncoder`."""

    def __init__(self, model: Any, spec: ImageSpec, text_processing: TextProcessing) -> None:
        self._model = model
        self._transform = image_transform_v2(PreprocessCfg(**preprocess_config(spec)), is_train=False)
        self._text_processing = text_processing

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """N upright 8-bit RGB images -> (N, D) float32 of unit norm."""
        return _embed(self._encode_images(part) for part in _parts(images))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """N texts -> (N, D) float32 of unit norm."""
        return _embed(self._encode_texts(part) for part in _parts(texts))

    def input_ids(self, text: str) -> list[int]:
        """Token ids of one text, with special tokens and without padding."""
        return self._text_processing.library_ids(text)

    def _encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        batch = torch.stack([self._transform(image) for image in images])  # (B, 3, S, S)
        features: Tensor = self._model.encode_image(batch, normalize=True)
        return features

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        features: Tensor = self._model.encode_text(self._text_processing.library(list(texts)), normalize=True)
        return features


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]


@torch.no_grad()
def _embed(batches: Iterator[Tensor]) -> Embeddings:
    rows = [embeddings.numpy() for embeddings in batches]
    return np.concatenate(rows).astype(np.float32, copy=False)
