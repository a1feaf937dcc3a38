"""What `[preprocess]` and `[text]` are where a recipe does not say it; prepares nothing.

Where the recipe's `model` is refused there is none to follow: any number does, and that error stands alone.
"""

from collections.abc import Mapping
from typing import Any

from diptych_training.models.config import ModelConfig


def image_defaults(model: ModelConfig | None) -> Mapping[str, Any]:
    """The whole image on white, at the model's size, as numbers from -1 to 1."""
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
    """CLIP's cleaning, and no more padding than the tower asks for."""
    return {
        "context_length": 1 if model is None else model.text.context_length,
        "clean": "clip",
        "pad_to": "context_length" if model is not None and model.text.sees_padding else "longest",
        "pad_id": 0,
        "prompts": {"default": ["{}"]},
    }
