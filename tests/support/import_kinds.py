"""Checkpoints of every named kind, each with its library's own road and what its bundle must say."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from support.hugging_face_checkpoints import (
    make_align,
    make_altclip,
    make_chinese_clip,
    make_clip,
    make_metaclip_2,
    make_siglip,
    make_siglip2_fixed,
)
from support.open_clip_checkpoints import make_hf_text, make_resnet, make_timm_siglip, make_vit
from support.openai_checkpoints import make_openai_archive
from support.original_library import OriginalLibrary, by_open_clip, by_openai, by_transformers

LETTERBOX = {"mean": (0.3, 0.5, 0.8), "std": (0.2, 0.3, 0.4), "resize_mode": "longest", "fill_color": 255}


@dataclass(frozen=True)
class Kind:
    """`make` saves a checkpoint as its library does; `run_by` is that library."""

    make: Callable[[Path], Path]
    run_by: Callable[[Path], OriginalLibrary]
    resize_mode: Literal["shortest", "longest", "squash"]
    crop: Literal["floor", "round"]
    pad_to: Literal["longest", "context_length"]
    family: Literal["clip", "siglip"] = "clip"


SHORTEST = {"resize_mode": "shortest", "pad_to": "longest"}
SIGLIP = {"resize_mode": "squash", "pad_to": "context_length", "family": "siglip"}
of_transformers = partial(Kind, run_by=by_transformers, crop="floor")
of_open_clip = partial(Kind, run_by=by_open_clip, crop="round")

KINDS: dict[str, Kind] = {
    # class token; text at its first largest id, QuickGELU
    "clip-old-eos": of_transformers(partial(make_clip, old_eos=True), **SHORTEST),
    # class token; text at the end-of-text id that the configuration names, GELU
    "clip-gelu": of_transformers(partial(make_clip, activation="gelu"), **SHORTEST),
    # text at the end-of-text id, Unigram
    "metaclip-2": of_transformers(make_metaclip_2, **SHORTEST),
    # attention pooling; text at its last position, tanh GELU, SentencePiece
    "siglip": of_transformers(make_siglip, **SIGLIP),
    "siglip2-fixed": of_transformers(make_siglip2_fixed, **SIGLIP),  # Gemma's BPE
    # first token of a BERT, WordPiece
    "chinese-clip": of_transformers(make_chinese_clip, resize_mode="squash", pad_to="longest"),
    "altclip": of_transformers(make_altclip, **SHORTEST),  # first token of an XLM-RoBERTa, Unigram
    "align": of_transformers(make_align, resize_mode="squash", pad_to="longest"),  # EfficientNet; BERT
    "open-clip-vit": of_open_clip(partial(make_vit, quick_gelu=True), **SHORTEST),
    "open-clip-resnet": of_open_clip(make_resnet, **SHORTEST),  # attention pooling over a grid, ReLU
    "open-clip-timm-siglip": of_open_clip(make_timm_siglip, **SIGLIP),
    "open-clip-timm-siglip2": of_open_clip(partial(make_timm_siglip, second=True), **SIGLIP),  # Gemma's BPE
    # mean of the tokens of a RoBERTa
    "open-clip-roberta": of_open_clip(make_hf_text, **SHORTEST),
    "open-clip-letterbox": of_open_clip(
        partial(make_vit, preprocess=LETTERBOX), resize_mode="longest", pad_to="longest"
    ),
    "openai-archive": Kind(
        lambda folder: make_openai_archive(folder / "ViT-tiny.pt"), by_openai, crop="round", **SHORTEST
    ),
}
