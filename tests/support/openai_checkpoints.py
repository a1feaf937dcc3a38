"""Small models as OpenAI published its own: TorchScript archives and state dicts; knows no bundles."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from support.open_clip_checkpoints import CONTEXT_LENGTH, SMALL_RESNET, VOCAB_SIZE, build, vit_config


def openai_model(kind: str = "vit") -> nn.Module:
    """QuickGELU, heads of 64 channels, and OpenAI's names: what open_clip calls CLIP. `kind`: vit, resnet."""
    vision = SMALL_RESNET if kind == "resnet" else {"head_width": 64}
    config = vit_config(quick_gelu=True, width=128, vision=vision, text={"heads": 2})
    model: nn.Module = build(config)
    return model


def make_openai_archive(file: Path, kind: str = "vit") -> Path:
    """A traced model with the three numbers that the originals carry, its matrices in float16."""
    model = openai_model(kind)
    size = model.visual.image_size
    edge = size[0] if isinstance(size, tuple) else size
    mask = model.attn_mask
    del model.attn_mask
    model.attn_mask = mask  # not a buffer: the originals' state dict has no mask
    for name, number in _marks(edge).items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, number)
    texts = torch.zeros((1, CONTEXT_LENGTH), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the format, and the tracer notes what it fixes
        traced = torch.jit.trace(model, (torch.zeros((1, 3, edge, edge)), texts), check_trace=False)
        for parameter in traced.parameters():
            if parameter.ndim > 1:
                parameter.data = parameter.data.half()
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.jit.save(traced, file)
    return file


def make_openai_state_dict(file: Path, kind: str = "vit", *, marks: bool = True) -> Path:
    """The tensors alone; without `marks` nothing tells them from a model that open_clip trained."""
    model = openai_model(kind)
    edge = 64 if kind == "resnet" else model.visual.image_size[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**model.state_dict(), **(_marks(edge) if marks else {})}, file)
    return file


def _marks(image_size: int) -> dict[str, Tensor]:
    numbers = {"input_resolution": image_size, "context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE}
    return {name: torch.tensor(number) for name, number in numbers.items()}
