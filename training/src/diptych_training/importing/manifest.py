"""Manifest of an imported model."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import JsonValue

from diptych.bundle.manifest import MATRYOSHKA_DIMENSIONS, ImageSpec, ManifestDraft, Precision, TextSpec
from diptych_training.importing.common.imported_model import ImportedModel
from diptych_training.importing.text_differences import TextDifferences

PROMPTS_OF_IMPORTS = "default"
NO_WEIGHTS = "no_weights"  # key of `extra`: why a bundle holds no weights to train from


@dataclass(frozen=True)
class ImportOptions:
    """The user's options for an import."""

    name: str
    precisions: tuple[str, ...]
    n_images: int
    prompts: tuple[str, ...] | None = None  # templates for the model's default prompt set
    ungated: bool = False
    optimise: bool = True
    weights: bool = True  # for training, if this package has the architecture
    matryoshka_dimensions: tuple[int, ...] = ()  # to which servers may cut embeddings; default: as stated


@dataclass(frozen=True)
class ModelFacts:
    """Facts about an imported model that are kept after its weights are freed."""

    family: Literal["clip", "siglip"]
    embed_dim: int
    logit_scale: float
    logit_bias: float
    image: ImageSpec
    text: TextSpec
    source: dict[str, Any]
    licence: str
    notes: tuple[str, ...]
    n_parameters: int
    no_weights: str | None  # why the bundle holds none to train from
    matryoshka_dimensions: tuple[int, ...]  # which the checkpoint states


def facts_of(imported: ImportedModel, prompts: tuple[str, ...] | None, no_weights: str | None) -> ModelFacts:
    """Copy the facts; `prompts`, if given, replace the default prompt set."""
    text = imported.text
    if prompts is not None:
        sets = {**text.prompts, PROMPTS_OF_IMPORTS: list(prompts)}
        text = text.model_copy(update={"prompts": sets})
    return ModelFacts(
        family=imported.family,
        embed_dim=imported.embed_dim,
        logit_scale=imported.logit_scale,
        logit_bias=imported.logit_bias,
        image=imported.image,
        text=text,
        source={**imported.source, "torch": str(torch.__version__)},
        licence=imported.licence,
        notes=tuple(imported.notes),
        n_parameters=sum(parameter.numel() for parameter in imported.model.parameters()),
        no_weights=no_weights,
        matryoshka_dimensions=imported.matryoshka_dimensions,
    )


def manifest_draft(
    facts: ModelFacts,
    differences: TextDifferences,
    options: ImportOptions,
    data_card: str,
    precisions: dict[str, Precision],
) -> ManifestDraft:
    """The manifest's draft, without name, version and file digests."""
    notes: list[JsonValue] = [*facts.notes]
    extra: dict[str, JsonValue] = {"text_differences": differences.stated(), "notes": notes}
    if dimensions := options.matryoshka_dimensions or facts.matryoshka_dimensions:
        extra[MATRYOSHKA_DIMENSIONS] = [*dimensions]
    return ManifestDraft(
        family=facts.family,
        embed_dim=facts.embed_dim,
        logit_scale=facts.logit_scale,
        logit_bias=facts.logit_bias,
        image=facts.image,
        text=facts.text,
        precisions=precisions,
        source=facts.source,
        metrics={},
        data_card=data_card,
        licence=facts.licence,
        ungated=options.ungated,
        extra=extra if facts.no_weights is None else {**extra, NO_WEIGHTS: facts.no_weights},
    )
