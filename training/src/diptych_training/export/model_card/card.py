"""Model card of an exported run."""

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Literal

from diptych.bundle.manifest import Parity
from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset, Split
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from diptych_training.evaluate.proof_set.samples import N_PARITY_IMAGES, held_out
from diptych_training.evaluate.results import KINDS, Evaluation
from diptych_training.evaluate.table import FLOORS_NOTE, TITLES, means_table, source_table
from diptych_training.export.model_card.failures import Failures, failures_note
from diptych_training.export.model_card.licence import (
    Licence,
    credits_of,
    evaluation_sources,
    proof_set_note,
    shared_authors_note,
)
from diptych_training.export.model_card.origins import origins_of
from diptych_training.export.model_card.quality import NO_ASSETS, CardAssets, Refreshed, weak_spots
from diptych_training.export.model_card.training_notes import dataset_notes, known_classes, recipe_notes
from diptych_training.export.onnx.bundle_files import logit_bias, logit_scale
from diptych_training.export.proof.prove import parity_table
from diptych_training.models import ImageConfig, ViTConfig
from diptych_training.objectives.contrastive import LossKind
from diptych_training.provenance import drawings_of

CARD_FILE, DATA_CARD_FILE = "MODEL_CARD.md", "DATA_CARD.md"
UNGATED_NOTE = (
    "\n**Published without its proof (`--ungated`): it may not match its model. Do not rely on it.**\n"
)
HALVED_NOTE = (
    " Their matrices and kernels are rounded to float16; the large ones are in the float32 graphs only, "
    "which compute in float32. Evaluation and validation were measured with the float32 weights, parity with "
    "the published files."
)
KNOWN: dict[Split, str] = {
    "eval": "sources that the model never saw",
    "validation": "sources that the model was selected on, but not trained on",
    "train": "sources that the model was trained on",
}
METHODS: dict[LossKind | Literal["convirt"], str] = {
    "softmax": "the contrastive method of CLIP (Radford et al. 2021)",
    "sigmoid": "the sigmoid loss of SigLIP (Zhai et al. 2023)",
    "convirt": "the contrastive method of ConVIRT (Zhang et al. 2020)",
}
TOWERS = {
    "resnet": "ResNet with CLIP's modifications",
    "vit": "vision transformer",
    "pooled_vit": "vision transformer with SigLIP's attention pooling",
    "efficientnet_lite": "EfficientNet-Lite",
    "photographs_and_drawings": (
        "two-part image tower (an EfficientNet-Lite for photographs, a ResNet for drawings)"
    ),
}
CARDS = {"photographs_and_drawings": "model_card_of_things.md"}  # by the kind of the image tower


def model_card(
    name: str,
    run: TrainedRun,
    dataset: PackedDataset,
    parities: dict[str, Parity],
    evaluation: Evaluation | None,
    *,
    checkpoint: str,
    licence: Licence,
    ungated: bool,
    half_weights: bool = False,
    assets: CardAssets = NO_ASSETS,
    proof_set: ProofSet | None = None,
    refreshed: Refreshed | None = None,
    failures: Mapping[str, Failures] | None = None,
) -> str:
    """Fill the Markdown template for drawings, for photographs and drawings, or for pairs."""
    own = dataset if run.provenance is None else run.provenance.own
    evaluated = (None if evaluation is None else evaluated_dataset(run, dataset, evaluation)) or dataset
    train = [entry.n for _, entry in own.listed("train")]
    pairs = run.config.data.pairs
    of_pairs = _sources_of_pairs(run, own)
    card = "model_card_of_pairs.md" if of_pairs else CARDS.get(run.model_config.image.kind, "model_card.md")
    template = Template((files(__package__) / card).read_text(encoding="utf-8"))
    return template.substitute(
        **known_classes(run.model_config, run.config),
        name=name,
        image_tower=_image_tower(run.model_config.image),
        embed_dim=run.model_config.embed_dim,
        n_parameters=f"{sum(p.numel() for p in run.model.parameters()) / 1e6:.2f} million",
        image_size=run.image_spec.size,
        context_length=run.text_spec.context_length,
        method=METHODS[run.config.loss if run.config.objective is None else "convirt"],
        scores=_scores(run),
        ungated=UNGATED_NOTE if ungated else "",
        evaluation=_quality(evaluation, refreshed),
        validation=_validation(run.metrics),
        kin=shared_authors_note(own) if pairs is None else "",
        proven_on=" and ".join(f"`{split}`" for split in held_out(dataset, N_PARITY_IMAGES)),
        weak="" if evaluation is None else weak_spots(evaluation),
        trained=recipe_notes(run.config),
        halved=HALVED_NOTE if half_weights else "",
        parity=parity_table(parities),
        beginning=_beginning(run),
        run=run.folder.resolve().name,
        step=f"{run.step:,}",
        which=checkpoint,
        dataset=own.name,
        learned_from=", ".join(f"`{source}`" for source in of_pairs),
        n_train_images=f"{sum(train):,}",
        n_train_sources=len(train),
        data_note=_data_note(own, dataset),
        dataset_notes=dataset_notes(run),
        origins=origins_of(run),
        sources=credits_of(
            own, run, evaluation_sources(evaluation, evaluated, own) if assets.confusions else [], proof_set
        ),
        proof_set="" if proof_set is None else proof_set_note(proof_set),
        licence=licence.sentence(),
        confusions=assets.confusions_paragraph(),
        failures=failures_note(failures or {}),
        curves=assets.curves_paragraph(),
    )


def _sources_of_pairs(run: TrainedRun, own: PackedDataset) -> list[str]:
    """Describe the pairs that a run learned from; empty for a run on drawings with their names."""
    if run.config.data.pairs is not None:
        return [*run.config.data.pairs.train]
    return [f"{own.name}/{name}" for name, _ in own.listed("train", "pairs")]


def evaluated_dataset(
    run: TrainedRun, dataset: PackedDataset, evaluation: Evaluation
) -> PackedDataset | None:
    """The data set of the evaluation: the proof's or the run's own; None if it is another."""
    known = [dataset] if run.provenance is None else [dataset, run.provenance.own]
    return next((one for one in known if one.name == evaluation.dataset), None)


def _image_tower(image: ImageConfig) -> str:
    has_stem = isinstance(image, ViTConfig) and image.stem
    return f"{TOWERS[image.kind]} with a convolutional stem" if has_stem else TOWERS[image.kind]


def _beginning(run: TrainedRun) -> str:
    start, image = run.config.start, run.config.start_image
    if image is not None:
        drawings = drawings_of(run.config, run.provenance)
        halves = "" if drawings is None else f" for photographs and that of `{drawings}` for drawings"
        return f"starting from the image tower of `{image.title}`{halves},"
    return "from scratch" if start is None else f"further, starting from `{start.source}`,"


def _scores(run: TrainedRun) -> str:
    """How scores are computed from cosines."""
    multiplied = f"cosines are multiplied by {logit_scale(run.model):.2f}"
    return (
        f"{multiplied}, and {logit_bias(run.model):.2f} is added"
        if run.config.loss == "sigmoid"
        else multiplied
    )


def _quality(evaluation: Evaluation | None, refreshed: Refreshed | None) -> str:
    said = [] if refreshed is None else [refreshed.paragraph()]
    said += [] if evaluation is None else [_evaluation(evaluation)]
    return "\n".join(said) or "Not measured when it was exported.\n"


def _evaluation(evaluation: Evaluation) -> str:
    sections = [
        "Zero-shot over the classes of each source and retrieval within it, on split "
        f"`{evaluation.split}` of `{evaluation.dataset}`: {KNOWN[evaluation.split]}. "
        "The pixel floor is the top-1 accuracy of the nearest training image by pixels. Means over sources:",
        means_table(evaluation),
    ]
    for kind in KINDS:
        results = evaluation.of_kind(kind)
        if results:
            sections += [f"{TITLES[kind]}:", source_table(results, lambda result: result.all)]
    sections.append(FLOORS_NOTE)
    return "\n\n".join(sections) + "\n"


def _validation(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in sorted(metrics.items())) or "not measured"


def _data_note(own: PackedDataset, proven_on: PackedDataset) -> str:
    if own.name == proven_on.name:
        return f"`{DATA_CARD_FILE}` describes how the data was collected, named and split."
    return f"The export was proven on the data set `{proven_on.name}`, which `{DATA_CARD_FILE}` describes."
