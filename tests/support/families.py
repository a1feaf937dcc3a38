"""Small models of every family beside the libraries that define them; knows no files.

FAMILIES["siglip of transformers"].theirs()    # a module of the library; its sizes are `config`'s
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import open_clip
import timm
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from diptych_training.importing.weight_names import Layout
from diptych_training.models import (
    CLIP,
    ImageConfig,
    ModelConfig,
    PooledViTConfig,
    ResNetConfig,
    TextConfig,
    ViTConfig,
    build_model,
)
from diptych_training.models.config import Activation

CONTEXT_LENGTH, VOCAB_SIZE, EMBED_DIM, WIDTH, LAYERS, HEADS = 16, 60, 24, 32, 2, 2
IMAGE_SIZE, PATCH_SIZE = 32, 8
MLP_WIDTH = 100  # of SigLIP: not four times the width, as in SO400M
SIGLIP_WIDTH = 48


@dataclass(frozen=True)
class Family:
    """An architecture of ours, and how a library builds the same one."""

    config: ModelConfig
    layout: Layout
    theirs: Callable[[], nn.Module]


def random_model(config: ModelConfig) -> CLIP:
    """Ours, in evaluation mode, with weights that make every part matter: no bias is 0, no gain 1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(config)
        for name, tensor in model.state_dict().items():  # shares memory with the model
            if tensor.is_floating_point():
                _fill(name, tensor)
    return model.eval()


def image_features(model: nn.Module, pixels: Tensor) -> Tensor:
    """Of whichever library."""
    with torch.no_grad():
        if isinstance(model, CLIPModel | SiglipModel):
            return model.get_image_features(pixel_values=pixels).pooler_output
        return model.encode_image(pixels)


def text_features(model: nn.Module, input_ids: Tensor) -> Tensor:
    """Of whichever library."""
    with torch.no_grad():
        if isinstance(model, CLIPModel | SiglipModel):
            return model.get_text_features(input_ids=input_ids).pooler_output
        return model.encode_text(input_ids)


def sample_texts(n_texts: int = 5) -> Tensor:
    """(N, CONTEXT_LENGTH) ids: texts of several lengths, the highest id at their end, 0 behind it."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(1, VOCAB_SIZE - 1, (n_texts, CONTEXT_LENGTH), generator=generator)
    for row, end in enumerate(torch.randint(2, CONTEXT_LENGTH, (n_texts,), generator=generator).tolist()):
        input_ids[row, end] = VOCAB_SIZE - 1
        input_ids[row, end + 1 :] = 0
    return input_ids


@torch.no_grad()
def _fill(name: str, tensor: Tensor) -> None:
    noise = torch.randn(tensor.shape)
    if name.endswith("running_var"):
        tensor.copy_(1 + 0.2 * noise.abs())
    elif tensor.ndim > 1:
        tensor.copy_(noise * (0.5 if "embedding" in name else tensor[0].numel() ** -0.5))
    elif name.endswith("weight"):  # of a norm
        tensor.copy_(1 + 0.1 * noise)
    else:
        tensor.copy_(0.3 * noise)


def _clip(image: ImageConfig, activation: Activation) -> ModelConfig:
    text = TextConfig(
        vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=WIDTH, layers=LAYERS, heads=HEADS
    )
    size = 64 if isinstance(image, ResNetConfig) else IMAGE_SIZE
    return ModelConfig(embed_dim=EMBED_DIM, image_size=size, activation=activation, image=image, text=text)


def _siglip(activation: Activation, image_size: int = IMAGE_SIZE) -> ModelConfig:
    shape = {"width": SIGLIP_WIDTH, "layers": LAYERS, "heads": 3, "mlp_width": MLP_WIDTH}
    image = PooledViTConfig(patch_size=PATCH_SIZE, crop_remainder=image_size % PATCH_SIZE > 0, **shape)
    text = TextConfig(
        vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, pool="last", causal=False, projection_bias=True,
        **shape,
    )  # fmt: skip
    return ModelConfig(
        embed_dim=SIGLIP_WIDTH, image_size=image_size, activation=activation, norm_eps=1e-6, initial_scale=10,
        initial_bias=-10, image=image, text=text,
    )  # fmt: skip


def _open_clip(config: ModelConfig, *, custom_text: bool = False) -> nn.Module:
    image, text = config.image, config.text
    shape: dict[str, Any] = {"image_size": config.image_size, "width": image.width}
    if isinstance(image, ResNetConfig):
        shape |= {"layers": list(image.layers), "head_width": image.n_features // image.heads}
    else:
        shape |= {"layers": image.layers, "patch_size": image.patch_size}
        shape |= {"head_width": image.width // image.heads}
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    words = {"context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE}
    words |= {"width": text.width, "heads": text.heads, "layers": text.layers}
    return kind(config.embed_dim, shape, words, quick_gelu=config.activation == "quick_gelu").eval()


def _open_clip_siglip(config: ModelConfig) -> nn.Module:
    image, text = config.image, config.text
    assert isinstance(image, PooledViTConfig)
    honest = timm.create_model
    small = {"img_size": config.image_size, "patch_size": image.patch_size, "embed_dim": image.width}
    small |= {"depth": image.layers, "num_heads": image.heads, "mlp_ratio": MLP_WIDTH / image.width}
    vision = {"image_size": config.image_size, "timm_model_name": "vit_base_patch16_siglip_224"}
    vision |= {"timm_pool": "map", "timm_proj": "none"}
    words = {"context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, "norm_kwargs": {"eps": 1e-6}}
    words |= {"width": text.width, "heads": text.heads, "layers": text.layers, "pool_type": "last"}
    words |= {"mlp_ratio": MLP_WIDTH / text.width, "no_causal_mask": True, "proj_bias": True}
    with mock.patch.object(timm, "create_model", lambda name, **given: honest(name, **given, **small)):
        return open_clip.CustomTextCLIP(config.embed_dim, vision, words, init_logit_bias=-10).eval()


def _transformers_clip(config: ModelConfig) -> nn.Module:
    image, text = config.image, config.text
    assert isinstance(image, ViTConfig)
    act = {"hidden_act": config.activation}
    vision = _tower(image, image_size=config.image_size, patch_size=image.patch_size, **act)
    words = _tower(text, **_words(), eos_token_id=VOCAB_SIZE - 1, **act)
    return CLIPModel(
        CLIPConfig(text_config=words, vision_config=vision, projection_dim=config.embed_dim)
    ).eval()


def _transformers_siglip(config: ModelConfig) -> nn.Module:
    image = config.image
    assert isinstance(image, PooledViTConfig)
    vision = _tower(image, image_size=config.image_size, patch_size=image.patch_size)
    return SiglipModel(SiglipConfig(text_config=_tower(config.text, **_words()), vision_config=vision)).eval()


def _words() -> dict[str, int]:
    return {"vocab_size": VOCAB_SIZE, "max_position_embeddings": CONTEXT_LENGTH}


def _tower(tower: ViTConfig | PooledViTConfig | TextConfig, **more: Any) -> dict[str, Any]:
    inner = None if isinstance(tower, ViTConfig) else tower.mlp_width
    shape = {"num_hidden_layers": tower.layers, "hidden_size": tower.width}
    shape |= {"num_attention_heads": tower.heads, "intermediate_size": inner or 4 * tower.width}
    return {**shape, **more}


def _family(config: ModelConfig, layout: Layout, build: Callable[[ModelConfig], nn.Module]) -> Family:
    return Family(config, layout, partial(build, config))


RESNET = ResNetConfig(layers=(1, 2, 1, 1), width=16, heads=8)
VIT = ViTConfig(patch_size=PATCH_SIZE, width=WIDTH, layers=LAYERS, heads=HEADS)
_custom_text = partial(_open_clip, custom_text=True)
FAMILIES: dict[str, Family] = {
    "resnet of open_clip": _family(_clip(RESNET, "gelu"), "original", _open_clip),
    "resnet of openai": _family(_clip(RESNET, "quick_gelu"), "original", _open_clip),
    "resnet of open_clip, custom text": _family(_clip(RESNET, "gelu"), "open_clip", _custom_text),
    "vit of open_clip": _family(_clip(VIT, "gelu"), "original", _open_clip),
    "vit of openai": _family(_clip(VIT, "quick_gelu"), "original", _open_clip),
    "vit of open_clip, custom text": _family(_clip(VIT, "quick_gelu"), "open_clip", _custom_text),
    "vit of transformers": _family(_clip(VIT, "quick_gelu"), "hugging_face", _transformers_clip),
    "vit of transformers, gelu": _family(_clip(VIT, "gelu"), "hugging_face", _transformers_clip),
    "siglip of open_clip": _family(_siglip("gelu"), "open_clip", _open_clip_siglip),
    "siglip of transformers": _family(_siglip("gelu_tanh"), "hugging_face", _transformers_siglip),
    "siglip of transformers, cropped": _family(
        _siglip("gelu_tanh", 35), "hugging_face", _transformers_siglip
    ),
}
