"""Tensor names of CLIPModel and SiglipModel in transformers."""

from collections.abc import Iterator

from diptych_training.errors import TrainingConfigError
from diptych_training.models import ImageConfig, ModelConfig, PooledViTConfig, ViTConfig
from diptych_training.weight_names.entry import Entry, layers

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
