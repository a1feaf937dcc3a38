"""How images and texts are prepared for a model (`preprocess`, `text`): defaults, and what must fit it."""

from collections.abc import Mapping
from typing import Any

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.models.config import ModelConfig, WordPiecesConfig


def check_preparation(image: ImageSpec, text: TextSpec, model: ModelConfig) -> None:
    """Raise ValueError naming the key of `preprocess` or `text` that does not fit the model."""
    if image.size != model.image_size:
        raise ValueError(
            f"preprocess.size is {image.size}, it must equal model.image_size, {model.image_size}"
        )
    if text.context_length != model.text.context_length:
        raise ValueError(
            f"text.context_length is {text.context_length}, it must equal "
            f"model.text.context_length, {model.text.context_length}"
        )
    if model.text.sees_padding and text.pad_to != "context_length":
        raise ValueError(
            f'text.pad_to is "{text.pad_to}", but this text tower sees padding: it must be "context_length"'
        )
    if text.pad_id >= model.text.vocab_size:
        raise ValueError(
            f"text.pad_id is {text.pad_id}, it must be below model.text.vocab_size {model.text.vocab_size}"
        )
    if isinstance(model.text, WordPiecesConfig) and text.pad_id:
        raise ValueError(
            f"text.pad_id is {text.pad_id}, it must be 0: a text tower of word pieces "
            "leaves token 0 out, and would read another as part of the text"
        )


def image_defaults(model: ModelConfig | None) -> Mapping[str, Any]:
    """The default `[preprocess]`: the whole image on white, at the model's size, as numbers from -1 to 1.

    `model` is None if the recipe's model is invalid: then any size does, since the error of the model is
    reported alone.
    """
    return {
        "size": 1 if model is None else model.image_size,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic",
        "resize_mode": "longest",
        "fill_color": (255, 255, 255),
        "crop": "round",
        "alpha": "white",
    }


def text_defaults(model: ModelConfig | None) -> Mapping[str, Any]:
    """The default `[text]`: CLIP's cleaning, and only the padding that the text tower needs. `model` as
    above.
    """
    return {
        "context_length": 1 if model is None else model.text.context_length,
        "clean": "clip",
        "pad_to": "context_length" if model is not None and model.text.sees_padding else "longest",
        "pad_id": 0,
        "prompts": {"default": ["{}"]},
    }
