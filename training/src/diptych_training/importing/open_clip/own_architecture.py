"""Express a configuration of open_clip as an architecture of this package."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from diptych_training.errors import NotConvertible
from diptych_training.models import (
    ImageConfig,
    ModelConfig,
    PooledViTConfig,
    ResNetConfig,
    TextConfig,
    ViTConfig,
)
from diptych_training.models.config import SIGMOID_START, Activation

# Keys that are expressed below, and keys that change nothing after training or only prepare texts.
MODEL_KEYS = {
    "embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale", "init_logit_bias",
}  # fmt: skip
VISION_KEYS = {
    "layers", "width", "head_width", "patch_size", "image_size", "act_kwargs", "norm_kwargs", "patch_dropout",
    "output_tokens", "timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_drop",
    "timm_drop_path",
}  # fmt: skip
TEXT_KEYS = {
    "context_length", "vocab_size", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "width",
    "heads", "layers", "mlp_ratio", "pad_id", "eos_id", "no_causal_mask", "pool_type", "proj_bias",
    "output_tokens", "act_kwargs", "norm_kwargs",
}  # fmt: skip
POOLS = {"argmax": "end_of_text", "last": "last"}
NORM_EPS = 1e-5  # torch's default


def own_architecture(config: Mapping[str, Any], visual: nn.Module) -> ModelConfig:
    """Our architecture of `model_cfg`; `visual` is the library's image tower, for the sizes of timm's models.

    Raises NotConvertible naming the setting that ours does not have.
    """
    _require_known(config, MODEL_KEYS, {}, "model_cfg")
    vision, text = CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"])
    _require_known(vars(vision), VISION_KEYS, _defaults(CLIPVisionCfg), "vision_cfg")
    _require_known(vars(text), TEXT_KEYS, _defaults(CLIPTextCfg), "text_cfg")
    quick_gelu = bool(config.get("quick_gelu"))
    size = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
    image, activation, eps = _image_tower(vision, visual, size, quick_gelu=quick_gelu)
    text_eps = _eps(text.norm_kwargs)
    if eps not in (None, text_eps):
        raise NotConvertible(
            f"norm layers add {eps} in images and {text_eps} in texts: diptych has one for both"
        )
    start = SIGMOID_START if config.get("init_logit_bias") is not None else {}
    return ModelConfig(
        embed_dim=config["embed_dim"],
        image_size=size,
        activation=activation,
        norm_eps=text_eps,
        image=image,
        text=_text(text, activation, quick_gelu=quick_gelu),
        **start,
    )


def _image_tower(
    vision: CLIPVisionCfg, visual: nn.Module, size: int, *, quick_gelu: bool
) -> tuple[ImageConfig, Activation, float | None]:
    """The tower, its activation, and what its norm layers add to a variance (None: it has no such layer)."""
    if vision.timm_model_name:
        return _pooled_vit(vision.timm_model_name, visual, size)
    activation = _activation(vision.act_kwargs, quick_gelu=quick_gelu)
    if isinstance(vision.layers, int):
        vit = ViTConfig(
            patch_size=vision.patch_size,
            width=vision.width,
            layers=vision.layers,
            heads=vision.width // vision.head_width,
        )
        return vit, activation, _eps(vision.norm_kwargs)
    resnet = ResNetConfig(
        layers=tuple(vision.layers), width=vision.width, heads=vision.width * 32 // vision.head_width
    )
    return resnet, activation, None


def _pooled_vit(name: str, visual: Any, size: int) -> tuple[ImageConfig, Activation, float]:
    """SigLIP's tower, with sizes from timm's modules. Raises NotConvertible for another model of timm."""
    trunk = visual.trunk
    if not (
        isinstance(trunk, VisionTransformer)
        and isinstance(trunk.attn_pool, AttentionPoolLatent)
        and not list(visual.head.parameters())
    ):
        raise NotConvertible(
            f"vision_cfg.timm_model_name is {name}: of timm's models, diptych has SigLIP's vision "
            "transformer, with attention pooling and no projection"
        )
    block: Any = trunk.blocks[0]
    patch_size, width, inner = trunk.patch_embed.patch_size[0], trunk.embed_dim, block.mlp.fc1.out_features
    config = PooledViTConfig(
        patch_size=patch_size,
        width=width,
        layers=len(trunk.blocks),
        heads=block.attn.num_heads,
        mlp_width=None if inner == 4 * width else inner,
        crop_remainder=size % patch_size > 0,
    )
    return config, _timm_activation(block.mlp.act), float(block.norm1.eps)


def _timm_activation(layer: nn.Module) -> Activation:
    if isinstance(layer, nn.GELU):
        return "gelu" if layer.approximate == "none" else "gelu_tanh"
    if type(layer).__name__ == "GELUTanh":
        return "gelu_tanh"
    raise NotConvertible(f"the image tower's activation is {type(layer).__name__}: diptych has GELUs")


def _text(text: CLIPTextCfg, image_activation: Activation, *, quick_gelu: bool) -> TextConfig:
    if text.pool_type not in POOLS:
        raise NotConvertible(f"text_cfg.pool_type is {text.pool_type}: diptych has {' and '.join(POOLS)}")
    activation, inner = _activation(text.act_kwargs, quick_gelu=quick_gelu), int(text.width * text.mlp_ratio)
    return TextConfig(
        vocab_size=text.vocab_size,
        context_length=text.context_length,
        width=text.width,
        layers=text.layers,
        heads=text.heads,
        mlp_width=None if inner == 4 * text.width else inner,
        activation=None if activation == image_activation else activation,
        pool=POOLS[text.pool_type],
        causal=not text.no_causal_mask,
        projection_bias=text.proj_bias,
    )


def _activation(options: Mapping[str, Any] | None, *, quick_gelu: bool) -> Activation:
    if quick_gelu:
        return "quick_gelu"
    return "gelu_tanh" if (options or {}).get("approximate") == "tanh" else "gelu"


def _eps(options: Mapping[str, Any] | None) -> float:
    return float((options or {}).get("eps", NORM_EPS))


def _defaults(kind: type[CLIPVisionCfg] | type[CLIPTextCfg]) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind)}


def _require_known(
    config: Mapping[str, Any], known: set[str], defaults: Mapping[str, Any], where: str
) -> None:
    """Raise NotConvertible naming the first other key whose value is not the library's default."""
    for key, value in config.items():
        if key not in known and value != defaults.get(key):
            raise NotConvertible(f"{where}.{key} is {value!r}: diptych has no such architecture")
