"""The two towers under the original CLIP's state-dict names; knows nothing of data, training or files."""

from diptych_training.models.clip import CLIP, build_model
from diptych_training.models.config import ModelConfig, ResNetConfig, TextConfig, ViTConfig

__all__ = ["CLIP", "ModelConfig", "ResNetConfig", "TextConfig", "ViTConfig", "build_model"]
