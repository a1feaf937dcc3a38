"""A checkpoint of another library as it is read: towers, specs, tokenizer, and how its scores are made."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from PIL import Image
from pydantic import ValidationError
from tokenizers import Tokenizer
from torch import Tensor, nn

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.errors import ImportFailed, NotConvertible
from diptych_training.models import ModelConfig

# CLIP is trained up to 100, SigLIP ends near 118. Far beyond, scores only compare rounding errors.
MIN_SCALE, MAX_SCALE = 0.01, 10_000.0
MAX_BIAS = 10_000.0


def scale_of_logarithm(tensor: str, value: float) -> float:
    """The logit scale whose natural logarithm a tensor holds. Raises ImportFailed if it is implausible."""
    scale = math.exp(value) if value < math.log(2 * MAX_SCALE) else math.inf
    return _require_scale(f"{tensor} is {value:g}, the logarithm of the logit scale", scale)


def scale_of_temperature(tensor: str, value: float) -> float:
    """The logit scale where a tensor holds the temperature. Raises ImportFailed if it is implausible."""
    scale = 1 / value if value > 0 else math.nan
    return _require_scale(f"{tensor} is {value:g}, the temperature that cosines are divided by", scale)


def _require_scale(what: str, scale: float) -> float:
    """Return the scale if a trained model may have it. Raises ImportFailed otherwise."""
    if not MIN_SCALE <= scale <= MAX_SCALE:  # False for NaN too
        raise ImportFailed(f"{what}: the scale must be from {MIN_SCALE:g} to {MAX_SCALE:g}")
    return scale


def require_bias(tensor: str, value: float) -> float:
    """Return the bias if a trained model may have it. Raises ImportFailed otherwise."""
    if not abs(value) <= MAX_BIAS:
        raise ImportFailed(
            f"{tensor} is {value:g}, the bias that is added to scaled cosines: "
            f"it must be from {-MAX_BIAS:g} to {MAX_BIAS:g}"
        )
    return value


class LibraryEncoder(Protocol):
    """The checkpoint's own library, preprocessing included: the reference that an import is compared with."""

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """N upright 8-bit RGB images -> (N, D) float32 of unit norm, resize and crop included."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """N texts -> (N, D) float32 of unit norm, cleaning and tokenising included."""
        ...

    def input_ids(self, text: str) -> list[int]:
        """Token ids of one text, with special tokens and without padding."""
        ...


@dataclass(frozen=True)
class Conversion:
    """How `importing.conversion` makes this package's model of a checkpoint.

    `config` is the architecture with all positions of texts, `tensors` are the weights under the names of
    the library, in memory that they share with its model.
    """

    config: ModelConfig
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class ImportedModel:
    """A dual encoder that is ready for export.

    `model` wraps the library's own modules in CLIP's two methods, in evaluation mode, float32, on the CPU:
    `encode_image` (B, 3, S, S) normalised float -> (B, D) features; `encode_text` (B, L) int64 -> (B, D)
    features; attention masks are computed from `text.pad_id`. `conversion` is the reason if this package has
    no such architecture.
    """

    family: Literal["clip", "siglip"]
    embed_dim: int
    logit_scale: float  # the multiplier, such as 100.0, not its logarithm
    logit_bias: float
    image: ImageSpec
    text: TextSpec
    tokenizer: Tokenizer
    model: nn.Module
    library: LibraryEncoder
    conversion: Conversion | NotConvertible
    source: dict[str, Any]  # JSON: `kind`, library and its version, architecture, origin
    licence: str
    # deliberate differences from the original, one sentence each
    notes: list[str] = field(default_factory=list)
    matryoshka_dimensions: tuple[int, ...] = ()  # which the checkpoint states


def conversion_of(
    architecture: Callable[[], ModelConfig], library_model: nn.Module
) -> Conversion | NotConvertible:
    """The conversion of a library's model, or the reason that `architecture` raises."""
    try:
        return Conversion(architecture(), library_model.state_dict())
    except NotConvertible as reason:
        return reason
    except ValidationError as error:
        return NotConvertible("; ".join(str(fault["msg"]) for fault in error.errors()))


@dataclass(frozen=True)
class Choices:
    """Settings that the user gives for a checkpoint that does not state them. None: not given."""

    context_length: int | None = None
    image_size: int | None = None  # for a model that accepts any size
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str | None = None
    resize_mode: str | None = None
    architecture: str | None = None  # open_clip's architecture name, for a bare state dict
    tokenizer: str | None = None  # folder or hub id of a tokenizer
    prompts: str | None = None  # named set of templates
    licence: str | None = None
    offline: bool = False  # use only the local hub cache
