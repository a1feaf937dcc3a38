"""What every reader of foreign checkpoints hands over; knows no library by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from PIL import Image
from tokenizers import Tokenizer
from torch import nn

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import ImageSpec, TextSpec

Say = Callable[[str], object]  # told each finished stage, as one line


class LibraryPath(Protocol):
    """How the checkpoint's own library prepares and embeds: the truth that an import is held to."""

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """N upright 8-bit RGB images -> (N, D) float32 of unit norm, resize and crop included."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """N texts -> (N, D) float32 of unit norm, cleaning and tokenising included."""
        ...

    def input_ids(self, text: str) -> list[int]:
        """The ids of one text, special tokens included, padding left out."""
        ...


@dataclass(frozen=True)
class ImportedModel:
    """One dual encoder, ready to be exported.

    `model` wraps the library's own modules behind CLIP's two methods, in evaluation mode, float32, on CPU:
    `encode_image` (B, 3, S, S) normalised float -> (B, D) features; `encode_text` (B, L) int64 -> (B, D)
    features, where attention masks are made from `text.pad_id`.
    """

    family: Literal["clip", "siglip"]
    embed_dim: int
    logit_scale: float  # the multiplier, such as 100.0, not its logarithm
    logit_bias: float
    image: ImageSpec
    text: TextSpec
    tokenizer: Tokenizer
    model: nn.Module
    library: LibraryPath
    source: dict[str, Any]  # `kind`, library and its version, architecture, where it came from: JSON
    licence: str
    notes: list[str] = field(
        default_factory=list
    )  # what differs from the original on purpose, one sentence each


@dataclass(frozen=True)
class Choices:
    """What a person may say about a checkpoint that does not say it itself. None: not said."""

    context_length: int | None = None
    image_size: int | None = None  # fixes the size of a model that takes any
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str | None = None
    resize_mode: str | None = None
    architecture: str | None = None  # open_clip's name for the architecture of a bare state dict
    tokenizer: str | None = None  # folder or hub id of a tokenizer
    prompts: str | None = None  # named set of templates
    licence: str | None = None
    offline: bool = False  # never ask a hub
