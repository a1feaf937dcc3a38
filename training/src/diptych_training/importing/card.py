"""Model card of an imported model."""

from collections.abc import Mapping
from importlib.resources import files
from string import Template

from diptych.bundle.manifest import Parity
from diptych_training.evaluate.table import markdown_table
from diptych_training.export.model_card.card import UNGATED_NOTE
from diptych_training.export.model_card.credits import proof_set_note
from diptych_training.export.proof.gate import parity_table
from diptych_training.importing.manifest import ImportOptions, ModelFacts
from diptych_training.importing.text_differences import TextDifferences
from diptych_training.proof_set.card import sources_table
from diptych_training.proof_set.proof_set import N_PROOF, ProofSet

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
    return markdown_table(["what", "which"], rows)
