"""The towers under the original CLIP's state-dict names; knows nothing of data, training or weights."""

from diptych_training.models.clip import CLIP, build_model
from diptych_training.models.config import (
    ImageConfig,
    ModelConfig,
    PooledViTConfig,
    ResNetConfig,
    TextConfig,
    ViTConfig,
)

__all__ = [
    "CLIP",
    "ImageConfig",
    "ModelConfig",
    "PooledViTConfig",
    "ResNetConfig",
    "TextConfig",
    "ViTConfig",
    "build_model",
]
