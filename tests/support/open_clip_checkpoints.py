"""Small models of open_clip with random weights, saved as its hub repositories hold them; knows no bundles.

make_vit(tmp_path / "vit", quick_gelu=True, layers=12)

OpenAI's originals are made by `support.openai_checkpoints`.
"""

import json
import math
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.constants import INCEPTION_MEAN, INCEPTION_STD, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from torch import nn
from transformers import (
    BertConfig,
    MT5Config,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    RobertaConfig,
    T5Tokenizer,
    XLMRobertaConfig,
)

from support.hugging_face_tokenizers import (
    bert_tokenizer,
    gemma_tokenizer,
    siglip_tokenizer,
    xlm_roberta_tokenizer,
)

LAYERS, WIDTH, EMBED_DIM, PATCH_SIZE, IMAGE_SIZE = 2, 64, 32, 8, 32
CONTEXT_LENGTH, VOCAB_SIZE = 77, 49408
SMALL_RESNET = {"layers": [1] * 4, "width": 16, "head_width": 64, "patch_size": None, "image_size": 64}
LOGIT_SCALE, SIGLIP_SCALE, SIGLIP_BIAS = 100.0, 110.0, -15.0
CLIP_IMAGES = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
SIGLIP_IMAGES = {
    "mean": INCEPTION_MEAN,
    "std": INCEPTION_STD,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
# Sharp attention, and activations that weigh much in the sum and lie where GELU and QuickGELU differ most: in
# 12 layers, one for the other moves the cosine by more than 1e-4.
GAINS = {"in_proj": 2.0, "qkv": 2.0, "c_fc": 0.8, "fc1": 0.8, "c_proj": 6.0, "fc2": 6.0}
Config = dict[str, Any]


def vit_config(
    *,
    quick_gelu: bool = False,
    layers: int = LAYERS,
    width: int = WIDTH,
    embed_dim: int = EMBED_DIM,
    vision: Config | None = None,
    text: Config | None = None,
    **more: Any,
) -> Config:
    """`model_cfg` of a ViT and a text transformer with CLIP's own tokenizer; `vision`, `text` go on top."""
    shape = {"layers": layers, "width": width, "head_width": 32, "patch_size": PATCH_SIZE}
    return {
        "embed_dim": embed_dim,
        **({"quick_gelu": True} if quick_gelu else {}),
        "vision_cfg": {"image_size": IMAGE_SIZE, **shape, **(vision or {})},
        "text_cfg": {**_text(layers, width), **(text or {})},
        **more,
    }


def make_vit(folder: Path, *, preprocess: Config | None = None, **shape: Any) -> Path:
    """Class token, causal text pooled at the highest id: CLIP's own shape. See `vit_config`."""
    return make_checkpoint(folder, vit_config(**shape), preprocess=preprocess)


def make_resnet(folder: Path) -> Path:
    """ModifiedResNet with attention pooling, one block in each of the four stages."""
    return make_checkpoint(folder, vit_config(vision=SMALL_RESNET))


def make_timm_siglip(folder: Path, *, second: bool = False) -> Path:
    """Timm's ViT with map pooling; text that sees its padding, pooled at the last token; logit bias.

    `second`: as SigLIP 2, with Gemma's tokenizer, which keeps case, and tanh GELU in the text tower.
    """
    name, context_length = "test_vit3", 16
    tokenizer = (
        gemma_tokenizer(context_length, lowercase=False)
        if second
        else _t5_tokenizer(siglip_vocabulary(folder / "vocabulary"))
    )
    text = {
        **_text(),
        "context_length": context_length,
        "vocab_size": len(tokenizer),
        "hf_tokenizer_name": "tiny/siglip",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
        **({"act_kwargs": {"approximate": "tanh"}} if second else {}),
    }
    trunk = timm.create_model(name, num_classes=0, global_pool="map")
    config = {
        "embed_dim": trunk.num_features,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": name,
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": text,
    }
    return make_checkpoint(folder, config, preprocess=SIGLIP_IMAGES, tokenizer=tokenizer)


def make_hf_text(
    folder: Path, *, kind: str = "roberta", pooler: str = "mean_pooler", layers: int = LAYERS
) -> Path:
    """A ViT beside a text tower of transformers, whose config.json lies in the folder.

    `kind`: bert (lower-casing WordPiece), roberta, xlm-roberta or mt5 (the encoder alone), the last three
    with XLM-RoBERTa's Unigram, which keeps case. `pooler`: mean_pooler, cls_pooler or
    cls_last_hidden_state_pooler.
    """
    tokenizer: PreTrainedTokenizerBase = (
        bert_tokenizer(CONTEXT_LENGTH) if kind == "bert" else xlm_roberta_tokenizer(CONTEXT_LENGTH)
    )
    folder.mkdir(parents=True, exist_ok=True)
    _text_config(kind, tokenizer, layers).save_pretrained(folder)
    config = vit_config(layers=layers)
    config["text_cfg"] = {
        "hf_model_name": f"tiny/{kind}",
        "hf_tokenizer_name": f"tiny/{kind}",
        "hf_proj_type": "mlp",
        "hf_pooler_type": pooler,
    }
    return make_checkpoint(folder, config, tokenizer=tokenizer)


def make_checkpoint(
    folder: Path,
    config: Config,
    *,
    preprocess: Config | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Path:
    """Any architecture, written as open_clip writes its hub repositories: safetensors beside the config."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build(config, folder)
    open_clip.set_model_preprocess_cfg(model, preprocess or CLIP_IMAGES)
    tensors = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    save_config_for_hf(model, folder / "open_clip_config.json", model_config=config)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def build(config: Config, folder: Path | None = None) -> Any:
    """open_clip's model of a `model_cfg`, with random weights that make every layer matter."""
    config = json.loads(json.dumps(config))
    is_custom = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    if "hf_model_name" in config["text_cfg"]:
        config["text_cfg"] |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    kind = open_clip.CLIP
    if is_custom:
        kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    return _randomised(kind(**config))


def _t5_tokenizer(vocabulary: Path) -> T5Tokenizer:
    """Of a SentencePiece vocabulary, the way open_clip saved SigLIP's: `</s>` ends and pads texts."""
    model = sentencepiece_model_pb2.ModelProto.FromString(vocabulary.read_bytes())
    return T5Tokenizer(
        vocab=[(piece.piece, piece.score) for piece in model.pieces],
        extra_ids=0,
        pad_token="</s>",
        _spm_precompiled_charsmap=model.normalizer_spec.precompiled_charsmap,
    )


def siglip_vocabulary(folder: Path) -> Path:
    """A SentencePiece file on its own, as SigLIP's vocabulary was published."""
    siglip_tokenizer(folder, context_length=16)
    return folder / "spiece.model"


def _text_config(kind: str, tokenizer: PreTrainedTokenizerBase, layers: int) -> PreTrainedConfig:
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if kind == "mt5":
        shape = {"d_model": WIDTH, "d_kv": 32, "d_ff": 4 * WIDTH, "num_layers": layers, "num_heads": 2}
        return MT5Config(**ids, **shape, num_decoder_layers=1, feed_forward_proj="gated-gelu")
    classes = {"bert": BertConfig, "roberta": RobertaConfig, "xlm-roberta": XLMRobertaConfig}
    return classes[kind](
        **ids,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=CONTEXT_LENGTH + 3,
    )


def _text(layers: int = LAYERS, width: int = WIDTH) -> Config:
    shape = {"width": width, "heads": width // 32, "layers": layers}
    return {"context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, **shape}


@torch.no_grad()
def _randomised(model: nn.Module) -> nn.Module:
    """Weights of a size that makes every layer matter: residuals drown the library's own small ones."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():  # shares memory with the model
        if tensor.is_floating_point():
            _fill(name, tensor, generator)
    _settle_norms(model, generator)
    is_siglip = getattr(model, "logit_bias", None) is not None
    model.logit_scale.fill_(math.log(SIGLIP_SCALE if is_siglip else LOGIT_SCALE))  # type: ignore[operator]
    if is_siglip:
        model.logit_bias.fill_(SIGLIP_BIAS)  # type: ignore[operator]
    return model.eval()


def _settle_norms(model: nn.Module, generator: torch.Generator) -> None:
    """Give batch norms the statistics of some images, or every image looks alike behind them."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    size = model.visual.image_size  # type: ignore[union-attr]
    edge = size[0] if isinstance(size, tuple) else size
    coarse = torch.randn((16, 3, 6, 6), generator=generator)
    for norm in norms:
        norm.train().momentum = 1.0
    model.visual(nn.functional.interpolate(coarse, size=(edge, edge), mode="bicubic"))  # type: ignore[operator]
    for norm in norms:
        norm.eval()


def _fill(name: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(tensor.shape, generator=generator)
    if tensor.ndim > 1:
        is_table = "embedding" in name or "embed" in name.rpartition(".")[2] or name.endswith("query")
        fan_in = tensor.shape[0] if name.endswith("proj") or "projection" in name else tensor[0].numel()
        gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
        tensor.copy_(noise * (0.5 if is_table else gain * fan_in**-0.5))
    elif name.endswith("running_var"):
        tensor.copy_(1 + 0.2 * noise.abs())
    elif name.endswith(("weight", "gamma")):  # of a norm, or a layer scale
        tensor.copy_(1 + 0.1 * noise)
    else:
        tensor.copy_(0.1 * noise)
