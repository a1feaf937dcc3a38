"""The ways in which a cell is measured; each returns figures by data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from diptych.bundle.text.tokenizer import clean
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.evaluate.benchmark import measure as benchmark
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet
from diptych_training.evaluate.benchmark.data_sets.pictograms import packed_data_sets
from diptych_training.evaluate.benchmark.features import FeatureCache
from diptych_training.evaluate.benchmark.logistic import Labelled
from diptych_training.evaluate.benchmark.metrics import measured
from diptych_training.evaluate.benchmark.probe import Parts, probe
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.ranking import accepted_labels
from diptych_training.evaluate.scoring import ignore
from diptych_training.evaluate.validation import source_classes
from diptych_training.evaluate.zero_shot import cached_classifier, top_k
from diptych_training.objectives.words import most_common
from diptych_training.progress import each, progress_bar
from diptych_training.study.cells import MEASURED, Cell
from diptych_training.study.name_scores import RAW, Model, NameScores, reference_pictures
from diptych_training.study.names import on_names
from diptych_training.study.results import Scores
from diptych_training.study.samples import sampled_sources

DRAWS = 3  # of few examples, where softmax and language are compared
DIGITS = 6  # of stored numbers


def measure(cell: Cell, model: Model, dataset: PackedDataset, cache: Path) -> Scores:
    """Measure one model as its cell says; `cache` keeps embeddings."""
    match cell.measure:
        case "sample":
            *sample, is_probed = cell.settings
            scores = on_samples(model, dataset, *sample)
            scores |= probes(model, dataset, cache) if is_probed else {}
        case "names":
            scores = on_names(name_scores(model, dataset), dataset, *cell.settings)
        case "labels":
            pools = [one for one in packed_data_sets(dataset, MEASURED) if one.train is not None]
            scores = by_known_names(model, dataset, *cell.settings) | on_benchmark(model, pools, cache, DRAWS)
        case "benchmark":
            scores = on_benchmark(model, packed_data_sets(dataset, MEASURED), cache, *cell.settings)
    return {
        name: {figure: round(value, DIGITS) for figure, value in figures.items()}
        for name, figures in scores.items()
    }


def name_scores(model: Model, dataset: PackedDataset) -> NameScores:
    """What scores names with this model."""
    classifier = (
        cached_classifier(model.encoder, model.tokenizer) if isinstance(model, EvaluatedModel) else None
    )
    return NameScores(model, reference_pictures(dataset), classifier)


def on_samples(model: Model, dataset: PackedDataset, names: int, pictures: int) -> Scores:
    """Zero-shot `top1` on a sample of each held-out source, and `top1_raw` if there is a raw rule."""
    scorer, scores = name_scores(model, dataset), Scores()
    for one in each(
        list(sampled_sources(dataset, MEASURED, names, pictures)), unit="source", desc=model.name
    ):
        figures = {
            f"top1{rule}": top_k(found, one.accepted, one.classes)[1]
            for rule, found in scorer(one.images, one.classes).items()
        }
        scores[one.name] = {**figures, "n": len(one.images)}
    return scores


def probes(model: Model, dataset: PackedDataset, cache: Path) -> Scores:
    """`probe`: the accuracy of a linear probe on the features, for each pool of labels."""
    features, scores = FeatureCache(cache, 128, ignore), Scores()
    for pool in packed_data_sets(dataset, MEASURED):
        if pool.train is not None and pool.validation is not None:
            train, validation = (
                Labelled(features.images(model, split.pictures), split.labels)
                for split in (pool.train, pool.validation)
            )
            test = features.images(model, pool.test.pictures)
            parts = Parts(train, validation, test, len(pool.texts), partial(measured, pool, pool.test))
            scores[pool.name] = {"probe": probe(parts).metrics[pool.metric], "n": len(test)}
    return scores


def on_benchmark(model: Model, data_sets: Sequence[DataSet], cache: Path, draws: int) -> Scores:
    """`name`, `one_template`, `ensemble`: zero-shot by prompts; `probe`, `shots_1` and so on: probes of
    pools.
    """
    plan = benchmark.MeasureSettings(seeds=draws)
    classifier = (
        cached_classifier(model.encoder, model.tokenizer) if isinstance(model, EvaluatedModel) else None
    )
    n_images = sum(len(pictures) for one in data_sets for pictures in benchmark.pictures_of(one, plan))
    scores: Scores = {}
    with progress_bar(total=n_images, unit="image", desc=model.name) as progress:
        features = FeatureCache(cache, 128, progress.update)
        for data_set in data_sets:
            result = benchmark.measure(model, data_set, plan, classifier, features)
            figures = {prompts: found[result.metric] for prompts, found in result.zero_shot.items()}
            shots = sorted({one.shots for one in result.few_shot})
            probe = {} if result.probe is None else {"probe": result.probe.metrics[result.metric]}
            scores[data_set.name] = {
                **{str(prompts): value for prompts, value in figures.items()},
                **probe,
                **{f"shots_{k}": fmean(o.score for o in result.few_shot if o.shots == k) for k in shots},
                "n": result.n_images,
            }
    return scores


@dataclass(frozen=True)
class TrainedLabels:
    """The labels of the training data, cleaned, and the most frequent ones, which a static softmax has."""

    every: frozenset[str]
    known: frozenset[str]

    @classmethod
    def of(cls, dataset: PackedDataset, n_known: int) -> "TrainedLabels":
        """Of a data set and a softmax with so many labels."""
        labels = [clean(item.label, "clip") for one in dataset.sources("train") for item in one.items]
        return cls(frozenset(labels), frozenset(most_common(labels, n_known)))


def by_known_names(model: Model, dataset: PackedDataset, n_labels: int) -> Scores:
    """Zero-shot `top1` on pictures whose name a static softmax knows, and on the others.

    `known` among the known names of the source, `known_of_all` and `unknown` among all of them; `unseen` is
    of those unknown names that are no label of the training data at all. The same by a raw rule, if there is
    one. `validated` is `known` on the validation sources.
    """
    scorer, scores = name_scores(model, dataset), Scores()
    trained = TrainedLabels.of(dataset, n_labels)
    for source in each(dataset.sources(MEASURED), unit="source", desc=model.name):
        scores[source.name] = _by_known_names(scorer, source, trained)
    for source in dataset.sources("validation"):
        found = _by_known_names(scorer, source, trained)
        held = {f"validated{rule}": found[f"known{rule}"] for rule in ("", RAW) if f"known{rule}" in found}
        if held:
            scores[source.name] = {**held, "n": found["n_known"]}
    return scores


def _by_known_names(scorer: NameScores, source: PackedSource, trained: TrainedLabels) -> dict[str, float]:
    labels, classes = [item.label for item in source.items], source_classes(source)
    accepted = accepted_labels(source.images, labels)
    is_known = np.array([clean(name, "clip") in trained.known for name in classes])
    is_seen = np.array([clean(name, "clip") in trained.every for name in classes])
    column = {name: index for index, name in enumerate(classes)}
    own = np.array([column[label] for label in labels])
    figures: dict[str, float] = {}
    for rule, found in scorer(source.images, classes).items():
        for figure, similarity, chosen in (
            ("known", np.where(is_known, found, -np.inf), is_known[own]),
            ("known_of_all", found, is_known[own]),
            ("unknown", found, ~is_known[own]),
            ("unseen", found, ~is_seen[own]),
        ):
            rows = np.flatnonzero(chosen)
            if len(rows):
                right = [accepted[row] for row in rows]
                figures[f"{figure}{rule}"] = top_k(similarity[rows], right, classes, [1])[1]
    counts = {"known": is_known, "unknown": ~is_known, "unseen": ~is_seen}
    return {**figures, **{f"n_{name}": int(of_class[own].sum()) for name, of_class in counts.items()}}
