"""Manifest of an exported run."""

from dataclasses import dataclass
from importlib.metadata import version as version_of

from pydantic import JsonValue

from diptych.bundle.manifest import ManifestDraft, Precision
from diptych_training.checkpoint import TrainedRun, Which
from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.results import Evaluation, Means, Scores
from diptych_training.export.model_card.card import DATA_CARD_FILE
from diptych_training.export.model_card.licence import Licence, recorded_licence
from diptych_training.export.model_card.quality import NO_ASSETS, CardAssets, Refreshed
from diptych_training.export.onnx.bundle_files import EXACT, logit_bias, logit_scale


@dataclass(frozen=True)
class ExportOptions:
    """The user's options for an export.

    `licence` None: derived from the licences recorded for the training data.
    """

    name: str
    checkpoint: Which = "best"
    licence: str | None = None
    ungated: bool = False
    evaluation: Evaluation | None = None
    precisions: tuple[str, ...] = (EXACT,)
    optimise: bool = True
    half_weights: bool = False
    assets: CardAssets = NO_ASSETS
    refreshed: Refreshed | None = None

    @property
    def n_embedded(self) -> int:
        """How often the proof's sample is embedded: by the model, and by each precision."""
        return 1 + len(self.precisions)

    def licence_of(self, run: TrainedRun) -> Licence:
        """The licence of the run's weights."""
        return recorded_licence(run.provenance) if self.licence is None else Licence(self.licence)


def make_draft(
    run: TrainedRun, dataset: PackedDataset, options: ExportOptions, precisions: dict[str, Precision]
) -> ManifestDraft:
    """The manifest's draft, without name, version and file digests."""
    return ManifestDraft(
        family="siglip" if run.config.loss == "sigmoid" else "clip",
        embed_dim=run.model_config.embed_dim,
        logit_scale=logit_scale(run.model),
        logit_bias=logit_bias(run.model) if run.config.loss == "sigmoid" else 0.0,
        image=run.image_spec,
        text=run.text_spec,
        precisions=precisions,
        source={
            "kind": "training",
            "run": run.folder.resolve().name,
            "checkpoint": options.checkpoint,
            "step": run.step,
            **run.history,
            **_datasets(run, dataset),
            "diptych_training": version_of("diptych-training"),
            "torch": version_of("torch"),
        },
        metrics=_metrics(run.metrics, options),
        data_card=DATA_CARD_FILE,
        licence=options.licence_of(run).name,
        ungated=options.ungated,
    )


def _datasets(run: TrainedRun, dataset: PackedDataset) -> dict[str, JsonValue]:
    """The data set of the run, and the one that the export was proven on if it is another."""
    own = dataset.name if run.provenance is None else run.provenance.own.name
    return {"dataset": own} if own == dataset.name else {"dataset": own, "proven_on": dataset.name}


def _metrics(validation: dict[str, float], options: ExportOptions) -> dict[str, JsonValue]:
    metrics: dict[str, JsonValue] = {"validation": dict(validation)}
    evaluation = options.evaluation
    if options.refreshed is not None:
        metrics["refresh"] = options.refreshed.model_dump(by_alias=True, exclude_none=True)
    if evaluation is not None:
        steered = validation if evaluation.split == "validation" else {}
        means: dict[str, JsonValue] = {kind: _mean_metrics(m) for kind, m in evaluation.means().items()}
        said: dict[str, JsonValue] = {"dataset": evaluation.dataset, "measured_on": evaluation.model}
        metrics[evaluation.split] = {**steered, **said, **means}
    return metrics


def _mean_metrics(means: Means) -> dict[str, JsonValue]:
    numbers: dict[str, JsonValue] = {"n_sources": means.n_sources, **_flat(means.all)}
    if means.pixel_floor is not None:
        numbers["pixel_floor_top1"] = round(means.pixel_floor, 4)
    if means.far is not None:
        numbers["without_near_duplicates"] = _flat(means.far)
    return numbers


def _flat(scores: Scores) -> dict[str, JsonValue]:
    names = {
        "zero_shot_top": scores.zero_shot,
        "text_to_image_recall_at_": scores.text_to_image,
        "image_to_text_recall_at_": scores.image_to_text,
    }
    return {f"{name}{k}": round(rate, 4) for name, rates in names.items() for k, rate in rates.items()}
