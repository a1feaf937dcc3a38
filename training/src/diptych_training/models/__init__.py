"""The CLIP and SigLIP towers, with the state-dict names of the original CLIP.

In: a `ModelConfig`. Out: a `CLIP` module with `encode_image` and `encode_text`. Read `config` and `clip`
first. Published architectures by name are in `named_architectures`.
"""

from diptych_training.models.clip import CLIP, build_model
from diptych_training.models.config import (
    EfficientNetLiteConfig,
    ImageConfig,
    ModelConfig,
    PhotographsAndDrawingsConfig,
    PooledViTConfig,
    ResNetConfig,
    TextConfig,
    TextTowerConfig,
    ViTConfig,
    WordPiecesConfig,
)

__all__ = [
    "CLIP",
    "EfficientNetLiteConfig",
    "ImageConfig",
    "ModelConfig",
    "PhotographsAndDrawingsConfig",
    "PooledViTConfig",
    "ResNetConfig",
    "TextConfig",
    "TextTowerConfig",
    "ViTConfig",
    "WordPiecesConfig",
    "build_model",
]
