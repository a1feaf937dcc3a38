"""The dual encoders of transformers that can be imported, and how they differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import (
    AlignModel,
    AltCLIPModel,
    ChineseCLIPModel,
    CLIPModel,
    MetaClip2Model,
    PreTrainedModel,
    SiglipModel,
)

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import (
    require_bias,
    scale_of_logarithm,
    scale_of_temperature,
)
from diptych_training.importing.hugging_face.library import DualEncoder, is_hugging_face, model_type_of

# Position from which a text tower takes its feature; it decides whether padding changes the feature:
# - end_of_text: the end-of-text token, behind a causal mask: it never sees what follows;
# - first_token: the first token, which sees everything that the attention mask admits;
# - last_position: the last position of the full length, which is padding for all but the longest texts.
Pooling = Literal["end_of_text", "first_token", "last_position"]


@dataclass(frozen=True)
class Family:
    """One `model_type` of the library."""

    model_class: type[PreTrainedModel]
    scoring: Literal["clip", "siglip"]
    pooling: Pooling
    fixed_image_size: bool = True  # position embeddings for the one image size in the configuration
    old_end_id: bool = False  # in old configurations an eos_token_id of 2 means the largest id
    positions_after_padding: bool = False  # positions count from padding_idx + 1, as in XLM-RoBERTa


FAMILIES = {
    "clip": Family(CLIPModel, "clip", "end_of_text", old_end_id=True),
    "metaclip_2": Family(MetaClip2Model, "clip", "end_of_text"),
    "siglip": Family(SiglipModel, "siglip", "last_position"),
    "chinese_clip": Family(ChineseCLIPModel, "clip", "first_token"),
    "altclip": Family(AltCLIPModel, "clip", "first_token", positions_after_padding=True),
    "align": Family(AlignModel, "clip", "first_token", fixed_image_size=False),
}
# Dual encoders that cannot be imported, and the reason.
REFUSED = {
    "siglip2": (
        "this is SigLIP 2 NaFlex, which keeps the aspect ratio of each image, while a bundle makes every "
        "image square: photographs would get other vectors than in transformers. Import a SigLIP 2 with a "
        "fixed image size instead, such as google/siglip2-base-patch16-256 (its model_type is siglip)"
    )
}


def family_of(model_type: str) -> Family:
    """The family of a `model_type`. Raises ImportFailed with the reason, or the supported types."""
    if model_type in REFUSED:
        raise ImportFailed(f"model_type {model_type!r} cannot be imported: {REFUSED[model_type]}")
    if model_type not in FAMILIES:
        raise ImportFailed(
            f"model_type {model_type!r} is not a supported dual encoder; "
            f"supported: {', '.join(FAMILIES)} (both towers in one checkpoint)"
        )
    return FAMILIES[model_type]


def is_dual_encoder(folder: Path) -> bool:
    """True if the folder's `config.json` names one of FAMILIES or REFUSED."""
    return is_hugging_face(folder) and model_type_of(folder) in {*FAMILIES, *REFUSED}


def logit_scale_and_bias(model: DualEncoder) -> tuple[float, float]:
    """Logit scale and logit bias. Raises ImportFailed naming a tensor with an implausible value."""
    if hasattr(model, "temperature"):  # ALIGN
        return scale_of_temperature("temperature", model.temperature.item()), 0.0
    bias = require_bias("logit_bias", model.logit_bias.item()) if hasattr(model, "logit_bias") else 0.0
    return scale_of_logarithm("logit_scale", model.logit_scale.item()), bias
