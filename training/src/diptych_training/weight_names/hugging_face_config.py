"""The `config.json` of CLIPModel and SiglipModel for an architecture of ours."""

from typing import Any

from diptych_training.errors import TrainingConfigError
from diptych_training.models import ModelConfig, PooledViTConfig, TextConfig, TextTowerConfig, ViTConfig
from diptych_training.models.config import Activation
from diptych_training.weight_names.hugging_face import require_transformer

Config = dict[str, Any]
ACTIVATIONS: dict[Activation, str] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
}


def library_config(config: ModelConfig, token_ids: dict[str, int]) -> Config:
    """`config.json`; `token_ids` has `eos_token_id`, `pad_token_id` and, if there is one, `bos_token_id`.

    Raises TrainingConfigError naming what transformers does not have.
    """
    image = require_transformer(config.image)
    is_siglip = isinstance(image, PooledViTConfig)
    model_type = "siglip" if is_siglip else "clip"
    tower = _require_usual_text(config.text, model_type, is_siglip=is_siglip)
    text = {
        "model_type": f"{model_type}_text_model",
        **_tower(config, tower, tower.mlp_width),
        "hidden_act": ACTIVATIONS[tower.activation or config.activation],
        "vocab_size": tower.vocab_size,
        "max_position_embeddings": tower.context_length,
        **token_ids,
        ("projection_size" if is_siglip else "projection_dim"): config.embed_dim,
    }
    vision = {
        "model_type": f"{model_type}_vision_model",
        **_tower(config, image, image.mlp_width if isinstance(image, PooledViTConfig) else None),
        "hidden_act": ACTIVATIONS[config.activation],
        "image_size": config.image_size,
        "patch_size": image.patch_size,
        "num_channels": 3,
        **({} if is_siglip else {"projection_dim": config.embed_dim}),
    }
    return {
        "architectures": ["SiglipModel" if is_siglip else "CLIPModel"],
        "model_type": model_type,
        **({} if is_siglip else {"projection_dim": config.embed_dim}),
        "text_config": text,
        "vision_config": vision,
    }


def _tower(
    config: ModelConfig, tower: ViTConfig | PooledViTConfig | TextConfig, mlp_width: int | None
) -> Config:
    return {
        "hidden_size": tower.width,
        "intermediate_size": mlp_width or 4 * tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "layer_norm_eps": config.norm_eps,
        "attention_dropout": 0.0,
    }


def _require_usual_text(text: TextTowerConfig, model_type: str, *, is_siglip: bool) -> TextConfig:
    """Raise TrainingConfigError unless the text tower attends and pools as that of the library."""
    if not isinstance(text, TextConfig):
        raise TrainingConfigError(f"model.text is of kind {text.kind}: transformers has no such text tower")
    needed = {"pool": "last", "causal": False} if is_siglip else {"pool": "end_of_text", "causal": True}
    for key, value in needed.items():
        if getattr(text, key) != value:
            raise TrainingConfigError(
                f"model.text.{key} is {getattr(text, key)}: transformers' {model_type} has {value}"
            )
    return text
