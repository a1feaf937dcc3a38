"""Small dual encoders of transformers with random weights, saved as the library saves them; knows no bundles.

make_clip(tmp_path / "clip", activation="gelu", layers=12)
"""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AlignConfig,
    AlignModel,
    AltCLIPConfig,
    AltCLIPModel,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
)
from transformers.image_processing_backends import PilBackend
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.clip.processing_clip import CLIPProcessor
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from support.hugging_face_tokenizers import (
    bert_tokenizer,
    clip_tokenizer,
    gemma_tokenizer,
    siglip_tokenizer,
    xlm_roberta_tokenizer,
)

LAYERS, WIDTH, HEADS, EMBED_DIM, PATCH_SIZE = 2, 32, 4, 24, 8
IMAGE_SIZE, CONTEXT_LENGTH = 32, 24
CLIP_SCALE, SIGLIP_SCALE, SIGLIP_BIAS = 100.0, 110.0, -15.0


def make_clip(
    folder: Path,
    *,
    activation: str = "quick_gelu",
    old_eos: bool = False,
    layers: int = LAYERS,
    embed_dim: int = EMBED_DIM,
    nested: bool = False,
) -> Path:
    """CLIP: class token, causal text. `old_eos`: a configuration of before the real end id was stored.

    `nested`: the image processor's settings inside processor_config.json, as the newest library saves them.
    """
    tokenizer = clip_tokenizer(CONTEXT_LENGTH)
    text = _text(tokenizer, layers, hidden_act=activation, pad_token_id=1)
    text |= {"bos_token_id": 0, "eos_token_id": 2} if old_eos else _frame_ids(tokenizer)
    vision = _vision(layers, hidden_act=activation)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=embed_dim)
    model = _randomised(CLIPModel(config))
    if not nested:
        return _save(folder, model, _shortest(), tokenizer)
    model.save_pretrained(folder)
    CLIPProcessor(_shortest(), tokenizer).save_pretrained(folder)
    return folder


def make_metaclip_2(folder: Path) -> Path:
    """MetaCLIP 2: CLIP's architecture with XLM-RoBERTa's tokenizer, whose end-of-text id is 2."""
    tokenizer = xlm_roberta_tokenizer(CONTEXT_LENGTH)
    text = _text(tokenizer, pad_token_id=tokenizer.pad_token_id, **_frame_ids(tokenizer))
    config = MetaClip2Config(text_config=text, vision_config=_vision(), projection_dim=EMBED_DIM)
    return _save(folder, _randomised(MetaClip2Model(config)), _shortest(), tokenizer)


def make_siglip(folder: Path, *, attention_mask: bool = False, layers: int = LAYERS) -> Path:
    """SigLIP: attention pooling, text pooled at its last position, sentencepiece, squashed images."""
    tokenizer = siglip_tokenizer(folder, CONTEXT_LENGTH, attention_mask=attention_mask)
    return _save(folder, _siglip(tokenizer, layers), _siglip_images(), tokenizer)


def make_siglip2_fixed(folder: Path, *, lowercase: bool = False) -> Path:
    """SigLIP 2 for one size of image: SigLIP's architecture with Gemma's tokenizer."""
    tokenizer = gemma_tokenizer(CONTEXT_LENGTH, lowercase=lowercase)
    return _save(folder, _siglip(tokenizer), _siglip_images(), tokenizer)


def make_siglip2_naflex(folder: Path) -> Path:
    """SigLIP 2 for images of any shape, at most 16 patches."""
    tokenizer = gemma_tokenizer(CONTEXT_LENGTH, lowercase=True)
    vision = _tower(patch_size=PATCH_SIZE, num_patches=16)
    model = Siglip2Model(Siglip2Config(text_config=_text(tokenizer), vision_config=vision))
    images = Siglip2ImageProcessorPil(patch_size=PATCH_SIZE, max_num_patches=16)
    return _save(folder, model, images, tokenizer)


def make_chinese_clip(folder: Path) -> Path:
    """Chinese-CLIP: a BERT for texts, pooled at its first token; images squashed, as its authors do."""
    tokenizer = bert_tokenizer(CONTEXT_LENGTH)
    text = _text(tokenizer, max_position_embeddings=64, pad_token_id=0)
    config = ChineseCLIPConfig(text_config=text, vision_config=_vision(), projection_dim=EMBED_DIM)
    images = ChineseCLIPImageProcessorPil(**_square(IMAGE_SIZE), do_center_crop=False)
    return _save(folder, _randomised(ChineseCLIPModel(config)), images, tokenizer)


def make_altclip(folder: Path) -> Path:
    """AltCLIP: XLM-RoBERTa for texts, its positions numbered after the padding id."""
    tokenizer = xlm_roberta_tokenizer(CONTEXT_LENGTH)
    n_positions = CONTEXT_LENGTH + 1 + 1  # ids 0 and 1 (padding) are no positions
    text = _text(tokenizer, max_position_embeddings=n_positions, project_dim=WIDTH)
    text |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config = AltCLIPConfig(text_config=text, vision_config=_vision(), projection_dim=EMBED_DIM)
    return _save(folder, _randomised(AltCLIPModel(config)), _shortest(), tokenizer)


def make_align(folder: Path, image_size: int = 64) -> Path:
    """ALIGN: an EfficientNet for images, scaled to [-1, 1] before normalisation, and a BERT for texts."""
    tokenizer = bert_tokenizer(CONTEXT_LENGTH)
    text = _text(tokenizer, max_position_embeddings=64, pad_token_id=0)
    vision = {
        "image_size": image_size,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "kernel_sizes": [3, 5, 3],
        "in_channels": [32, 16, 24],
        "out_channels": [16, 24, EMBED_DIM],
        "strides": [1, 2, 2],
        "num_block_repeats": [1, 2, LAYERS],
        "expand_ratios": [1, 4, 4],
        "hidden_dim": 64,
    }
    config = AlignConfig(text_config=text, vision_config=vision, projection_dim=EMBED_DIM)
    images = EfficientNetImageProcessorPil(
        **_square(image_size + 8),
        crop_size={"height": image_size, "width": image_size},
        do_center_crop=True,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        include_top=False,
        image_mean=[0.1, 0.0, -0.1],
        image_std=[0.9, 1.0, 1.1],
    )
    return _save(folder, _randomised(AlignModel(config)), images, tokenizer)


def _siglip(tokenizer: PreTrainedTokenizerBase, layers: int = LAYERS) -> PreTrainedModel:
    config = SiglipConfig(text_config=_text(tokenizer, layers), vision_config=_vision(layers))
    return _randomised(SiglipModel(config))


def _tower(layers: int = LAYERS, **more: Any) -> dict[str, Any]:
    shape = {"num_hidden_layers": layers, "hidden_size": WIDTH, "num_attention_heads": HEADS}
    return {**shape, "intermediate_size": 4 * WIDTH, **more}


def _text(tokenizer: PreTrainedTokenizerBase, layers: int = LAYERS, **more: Any) -> dict[str, Any]:
    ids = {"max_position_embeddings": CONTEXT_LENGTH, "vocab_size": len(tokenizer)}
    return _tower(layers, **{**ids, **more})


def _vision(layers: int = LAYERS, **more: Any) -> dict[str, Any]:
    return _tower(layers, image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, **more)


def _frame_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}


def _square(edge: int) -> dict[str, Any]:
    return {"size": {"height": edge, "width": edge}}


def _shortest() -> CLIPImageProcessorPil:
    crop_size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=crop_size)


def _siglip_images() -> SiglipImageProcessorPil:
    return SiglipImageProcessorPil(**_square(IMAGE_SIZE), resample=2)  # bilinear, as SigLIP 2


def _save(
    folder: Path, model: PreTrainedModel, images: PilBackend, tokenizer: PreTrainedTokenizerBase
) -> Path:
    for part in (model, images, tokenizer):
        part.save_pretrained(folder)
    return folder


@torch.no_grad()
def _randomised(model: PreTrainedModel) -> PreTrainedModel:
    """Weights of a size that makes every layer matter: residuals drown the library's own small ones."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            _fill(name, tensor, generator)
    _set_logits(model)
    return model.eval()


def _fill(name: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(tensor.shape, generator=generator)
    if tensor.ndim > 1:
        tensor.copy_(noise * _scale(name, tensor))
    elif name.endswith("running_var"):
        tensor.copy_(1 + 0.2 * noise.abs())
    elif name.endswith("weight"):  # of a norm
        tensor.copy_(1 + 0.1 * noise)
    elif name.endswith(("fc1.bias", "intermediate.dense.bias")):
        tensor.copy_(0.1 * noise - 1.5)  # most units are off, as in trained models: there activations differ
    else:
        tensor.copy_(0.1 * noise)


def _scale(name: str, tensor: torch.Tensor) -> float:
    if "embedding" in name and "patch" not in name:
        return 0.5
    gain = 1.0
    if name.endswith(("fc2.weight", ".output.dense.weight")) and "attention" not in name:
        gain = 4.0  # makes up for the units that are off
    elif "vision_model.encoder" in name and tensor.ndim == 4:  # ALIGN's convolutions: each halves its input
        gain = 2.5
    return gain * float(tensor[0].numel() ** -0.5)  # each output sums that many


def _set_logits(model: PreTrainedModel) -> None:
    if hasattr(model, "temperature"):
        model.temperature.fill_(1 / CLIP_SCALE)
    elif hasattr(model, "logit_bias"):
        model.logit_scale.fill_(math.log(SIGLIP_SCALE))
        model.logit_bias.fill_(SIGLIP_BIAS)
    else:
        model.logit_scale.fill_(math.log(CLIP_SCALE))
