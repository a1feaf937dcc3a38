"""Express the configuration of a checkpoint of transformers as an architecture of this package."""

from typing import get_args

from tokenizers import Tokenizer

from diptych_training.errors import NotConvertible
from diptych_training.importing.hugging_face.families import Family
from diptych_training.importing.hugging_face.library import ModelConfig as LibraryConfig
from diptych_training.importing.hugging_face.text_spec import LEGACY_END_ID
from diptych_training.importing.hugging_face.towers import Padding
from diptych_training.models import ModelConfig, PooledViTConfig, TextConfig, ViTConfig
from diptych_training.models.config import SIGMOID_START, Activation

ACTIVATIONS: dict[str, Activation] = {
    **{name: name for name in get_args(Activation)},
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
CONVERTIBLE = ("clip", "siglip")


def own_architecture(
    config: LibraryConfig, family: Family, padding: Padding, tokenizer: Tokenizer
) -> ModelConfig:
    """Our architecture of a CLIPModel or a SiglipModel.

    Raises NotConvertible naming the setting that ours does not have.
    """
    if config.model_type not in CONVERTIBLE:
        raise NotConvertible(
            f"model_type is {config.model_type!r}: of transformers' models, diptych has the architectures "
            f"of {' and '.join(CONVERTIBLE)}"
        )
    if padding.visible != "everything":
        raise NotConvertible("the tokenizer asks for an attention mask, which diptych's text towers have not")
    if config.model_type == "siglip":
        return _siglip(config)
    _require_largest_end(config, family, padding, tokenizer)
    return _clip(config)


def _clip(config: LibraryConfig) -> ModelConfig:
    vision = config.vision_config
    if vision.intermediate_size != 4 * vision.hidden_size:
        raise NotConvertible(
            f"vision_config.intermediate_size is {vision.intermediate_size}: diptych's vit has four times "
            f"hidden_size, {4 * vision.hidden_size}"
        )
    return ModelConfig(
        embed_dim=config.projection_dim,
        image_size=vision.image_size,
        activation=_activation(vision),
        norm_eps=_norm_eps(config),
        image=ViTConfig(
            patch_size=vision.patch_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
        ),
        text=_text(config),
    )


def _siglip(config: LibraryConfig) -> ModelConfig:
    vision = config.vision_config
    return ModelConfig(
        embed_dim=vision.hidden_size,
        image_size=vision.image_size,
        activation=_activation(vision),
        norm_eps=_norm_eps(config),
        **SIGMOID_START,
        image=PooledViTConfig(
            patch_size=vision.patch_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            mlp_width=_mlp_width(vision),
            crop_remainder=vision.image_size % vision.patch_size > 0,
        ),
        text=_text(config).model_copy(update={"pool": "last", "causal": False, "projection_bias": True}),
    )


def _text(config: LibraryConfig) -> TextConfig:
    """CLIP's text tower with the sizes of the configuration."""
    text, activation = config.text_config, _activation(config.text_config)
    return TextConfig(
        vocab_size=text.vocab_size,
        context_length=text.max_position_embeddings,
        width=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        mlp_width=_mlp_width(text),
        activation=None if activation == _activation(config.vision_config) else activation,
    )


def _mlp_width(tower: LibraryConfig) -> int | None:
    """The inner width; None for our default, four times the width."""
    return None if tower.intermediate_size == 4 * tower.hidden_size else int(tower.intermediate_size)


def _activation(tower: LibraryConfig) -> Activation:
    if tower.hidden_act not in ACTIVATIONS:
        raise NotConvertible(
            f"hidden_act is {tower.hidden_act!r}: diptych has {', '.join(get_args(Activation))}"
        )
    return ACTIVATIONS[tower.hidden_act]


def _norm_eps(config: LibraryConfig) -> float:
    vision, text = config.vision_config.layer_norm_eps, config.text_config.layer_norm_eps
    if vision != text:
        raise NotConvertible(
            f"layer_norm_eps is {vision} of images and {text} of texts: diptych has one for both towers"
        )
    return float(vision)


def _require_largest_end(
    config: LibraryConfig, family: Family, padding: Padding, tokenizer: Tokenizer
) -> None:
    """Raise NotConvertible unless the end-of-text token has the largest id, by which our tower finds it."""
    if family.old_end_id and config.text_config.eos_token_id == LEGACY_END_ID:
        return  # transformers looks for the largest id too
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if padding.pad_id != largest:  # the end-of-text token pads
        raise NotConvertible(
            f"the end-of-text token has id {padding.pad_id}, the tokenizer has ids up to {largest}: "
            "diptych's text tower takes the feature at the largest id"
        )
