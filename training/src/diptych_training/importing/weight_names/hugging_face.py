"""Tensor names of CLIPModel and SiglipModel in transformers."""

from collections.abc import Iterator
from typing import Any

from diptych_training.errors import TrainingConfigError
from diptych_training.importing.weight_names.entry import Entry, layers
from diptych_training.models import (
    ImageConfig,
    ModelConfig,
    PooledViTConfig,
    TextConfig,
    TextTowerConfig,
    ViTConfig,
)
from diptych_training.models.config import Activation

BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def entries(config: ModelConfig) -> list[Entry]:
    """Entries for every tensor of a model. Raises TrainingConfigError as `require_transformer` does."""
    if isinstance(require_transformer(config.image), PooledViTConfig):
        return [*_siglip_image(config), *_text(config), *_siglip_rest()]
    return [*_clip_image(config), *_text(config), *_clip_rest(config)]


def require_transformer(image: ImageConfig) -> ViTConfig | PooledViTConfig:
    """Return the image tower. Raises TrainingConfigError for a network of convolutions: transformers has no
    CLIP with one.
    """
    if not isinstance(image, ViTConfig | PooledViTConfig):
        raise TrainingConfigError(
            f"model.image is of kind {image.kind}: transformers has no CLIP with such an image tower"
        )
    return image


def _clip_image(config: ModelConfig) -> Iterator[Entry]:
    embeddings = "vision_model.embeddings"
    yield Entry("visual.class_embedding", (f"{embeddings}.class_embedding",))
    yield Entry("visual.conv1.weight", (f"{embeddings}.patch_embedding.weight",))
    yield Entry("visual.positional_embedding", (f"{embeddings}.position_embedding.weight",))
    yield from layers("visual.ln_pre", "vision_model.pre_layrnorm")  # their spelling
    yield from _blocks("visual.transformer", "vision_model.encoder", _n_image_layers(config))
    yield from layers("visual.ln_post", "vision_model.post_layernorm")
    yield Entry("visual.proj", ("visual_projection.weight",), is_transposed=True)


def _siglip_image(config: ModelConfig) -> Iterator[Entry]:
    embeddings, head = "vision_model.embeddings", "vision_model.head"
    yield from layers("visual.conv1", f"{embeddings}.patch_embedding")
    yield Entry("visual.positional_embedding", (f"{embeddings}.position_embedding.weight",))
    yield from _blocks("visual.transformer", "vision_model.encoder", _n_image_layers(config))
    yield from layers("visual.ln_post", "vision_model.post_layernorm")
    yield Entry("visual.attnpool.probe", (f"{head}.probe",), n_lead=2)
    for part in ("in_proj_weight", "in_proj_bias"):
        yield Entry(f"visual.attnpool.{part}", (f"{head}.attention.{part}",))
    yield from layers("visual.attnpool.out_proj", f"{head}.attention.out_proj")
    yield from layers("visual.attnpool.ln", f"{head}.layernorm")
    yield from layers("visual.attnpool.mlp.c_fc", f"{head}.mlp.fc1")
    yield from layers("visual.attnpool.mlp.c_proj", f"{head}.mlp.fc2")


def _text(config: ModelConfig) -> Iterator[Entry]:
    embeddings = "text_model.embeddings"
    yield Entry("token_embedding.weight", (f"{embeddings}.token_embedding.weight",))
    yield Entry("positional_embedding", (f"{embeddings}.position_embedding.weight",))
    yield from _blocks("transformer", "text_model.encoder", config.text.layers)
    yield from layers("ln_final", "text_model.final_layer_norm")


def _clip_rest(config: ModelConfig) -> Iterator[Entry]:
    yield Entry("text_projection", ("text_projection.weight",), is_transposed=True)
    yield Entry("logit_scale", ("logit_scale",))
    if config.text.projection_bias or config.initial_bias is not None:
        raise TrainingConfigError(
            "model: transformers has no CLIP with a bias of its projection or its logits"
        )


def _siglip_rest() -> Iterator[Entry]:
    yield Entry("text_projection", ("text_model.head.weight",), is_transposed=True)
    yield Entry("text_projection_bias", ("text_model.head.bias",))
    yield Entry("logit_scale", ("logit_scale",), n_lead=1)
    yield Entry("logit_bias", ("logit_bias",), n_lead=1)


def _blocks(ours: str, theirs: str, n_layers: int) -> Iterator[Entry]:
    for index in range(n_layers):
        block, layer = f"{ours}.resblocks.{index}", f"{theirs}.layers.{index}"
        for our_part, their_part in BLOCK.items():
            yield from layers(f"{block}.{our_part}", f"{layer}.{their_part}")
        for kind in ("weight", "bias"):
            names = tuple(f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv")
            yield Entry(f"{block}.attn.in_proj_{kind}", names, shares=(1, 1, 1))


def _n_image_layers(config: ModelConfig) -> int:
    return require_transformer(config.image).layers


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
