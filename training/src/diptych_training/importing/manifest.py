"""Manifest and model card of an imported checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any, Literal

import torch
from pydantic import JsonValue

from diptych.bundle.manifest import (
    MATRYOSHKA_DIMENSIONS,
    ImageSpec,
    ManifestDraft,
    Parity,
    Precision,
    TextSpec,
)
from diptych_training.evaluate.proof_set.proof_set import N_PROOF, ProofSet, sources_table
from diptych_training.export.model_card.card import UNGATED_NOTE
from diptych_training.export.model_card.licence import proof_set_note
from diptych_training.export.proof.prove import parity_table
from diptych_training.importing.common.imported_model import ImportedModel
from diptych_training.importing.text_differences import TextDifferences
from diptych_training.reports.markdown import markdown_table

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


TRAINABLE = (
    "Yes, by `diptych-train train --start`: with `weights.safetensors`, diptych's own model gives the "
    "embeddings of the original library."
)


def import_card(
    options: ImportOptions,
    facts: ModelFacts,
    differences: TextDifferences,
    parities: Mapping[str, Parity],
    proof_set: ProofSet | None,
) -> str:
    """Fill the Markdown template `import_card.md`."""
    template = Template((files(__package__) / "import_card.md").read_text(encoding="utf-8"))
    n_equal, n_differing = len(differences.equal), len(differences.differing)
    return template.substitute(
        name=options.name,
        n_parameters=f"{facts.n_parameters / 1e6:,.2f}",
        image_size=facts.image.size,
        context_length=facts.text.context_length,
        embed_dim=facts.embed_dim,
        logit_scale=f"{facts.logit_scale:.2f}",
        logit_bias=f"{facts.logit_bias:.2f}",
        family={"clip": "CLIP", "siglip": "SigLIP"}[facts.family],
        ungated=UNGATED_NOTE if options.ungated else "",
        source=_source(facts),
        licence=facts.licence,
        parity=parity_table(dict(parities), n_differing),
        n_equal=n_equal,
        n_texts=n_equal + n_differing,
        differences=differences.table() if n_differing else "None differs.",
        training=TRAINABLE if facts.no_weights is None else f"No: {facts.no_weights}.",
        proof_set=_proof_set(proof_set),
        notes="\n".join(f"- {note}" for note in facts.notes) or "None.",
    )


def _proof_set(proof_set: ProofSet | None) -> str:
    if proof_set is None:
        return f"None: the import was proven on fewer than {N_PROOF:,} images."
    return f"{proof_set_note(proof_set)}\n{sources_table(proof_set.entries(proof_set.image_size))}"


def _source(facts: ModelFacts) -> str:
    rows = [[key, f"`{value}`"] for key, value in facts.source.items() if not isinstance(value, dict | list)]
    return markdown_table(["what", "which"], rows, n_words=2)
