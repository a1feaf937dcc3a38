"""The three ways in which a cell is measured; each returns figures by data set, from 0 to 1.

A sample of a held-out source has the same names and pictures for every model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels
from diptych.bundle.text.tokenizer import clean
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.evaluate.benchmark import measure as benchmark
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet
from diptych_training.evaluate.benchmark.data_sets.pictograms import packed_data_sets
from diptych_training.evaluate.benchmark.features import FeatureCache
from diptych_training.evaluate.embedding import embed_images
from diptych_training.evaluate.evaluated_model import EvaluatedModel, ScoredModel
from diptych_training.evaluate.ranking import Accepted, accepted_labels
from diptych_training.evaluate.validation import source_classes
from diptych_training.evaluate.zero_shot import cached_classifier, class_embeddings, top_k
from diptych_training.objectives.words import most_common
from diptych_training.progress import each, progress_bar
from diptych_training.study.cells import MEASURED, Cell
from diptych_training.study.results import Scores

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class SampledSource:
    """Pictures of a source and the names among which each is to be found."""

    name: str
    images: Pixels  # (N, S, S, 3)
    accepted: Accepted
    classes: tuple[str, ...]


def sampled_sources(dataset: PackedDataset, split: str, names: int, pictures: int) -> Iterator[SampledSource]:
    """Each source of a split with at most so many names and pictures, drawn by the name of the source."""
    for source in dataset.sources(split):
        yield sampled(source, names, pictures)


def sampled(source: PackedSource, names: int, pictures: int) -> SampledSource:
    """Draw names, then pictures that have one of them."""
    rng = np.random.default_rng(int.from_bytes(sha256(source.name.encode()).digest()[:8], "big"))
    labels = [item.label for item in source.items]
    classes = _drawn(sorted(set(labels)), names, rng)
    shown = set(classes)
    chosen = _drawn([index for index, label in enumerate(labels) if label in shown], pictures, rng)
    accepted = accepted_labels(source.images, labels)
    return SampledSource(
        source.name, source.images[chosen], [accepted[index] for index in chosen], tuple(classes)
    )


def _drawn(entries: list[Entry], n: int, rng: np.random.Generator) -> list[Entry]:
    """At most n of the entries, in their order."""
    chosen = np.sort(rng.permutation(len(entries))[:n])
    return [entries[index] for index in chosen]


Model = EvaluatedModel | ScoredModel
DRAWS = 3  # of few examples, where softmax and language are compared
DIGITS = 6  # of stored numbers


def measure(cell: Cell, model: Model, dataset: PackedDataset, cache: Path) -> Scores:
    """Measure one model as its cell says; `cache` keeps embeddings."""
    match cell.measure:
        case "sample":
            scores = on_samples(model, dataset, *cell.settings)
        case "labels":
            pools = [one for one in packed_data_sets(dataset, MEASURED) if one.train is not None]
            scores = by_known_names(model, dataset, *cell.settings) | on_benchmark(model, pools, cache, DRAWS)
        case "benchmark":
            scores = on_benchmark(model, packed_data_sets(dataset, MEASURED), cache, *cell.settings)
    return {
        name: {figure: round(value, DIGITS) for figure, value in figures.items()}
        for name, figures in scores.items()
    }


def on_samples(model: Model, dataset: PackedDataset, names: int, pictures: int) -> Scores:
    """Zero-shot `top1` and `top5` on a sample of each held-out source."""
    scores: Scores = {}
    samples = list(sampled_sources(dataset, MEASURED, names, pictures))
    for one in each(samples, unit="source", desc=model.name):
        found = top_k(class_scores(model, one.images, one.classes), one.accepted, one.classes)
        scores[one.name] = {"top1": found[1], "top5": found[5], "n": len(one.images)}
    return scores


def class_scores(model: Model, images: Pixels, classes: Sequence[str]) -> NDArray[np.float32]:
    """(N, S, S, 3) -> (N, C), through the model's templates."""
    if isinstance(model, ScoredModel):
        (scores,) = model.scorer(images, [(classes, True)])
        return scores
    rows = embed_images(model.encoder, images, model.image_spec)
    return rows @ class_embeddings(model.encoder, model.tokenizer, classes, model.templates).T


def on_benchmark(model: Model, data_sets: Sequence[DataSet], cache: Path, draws: int) -> Scores:
    """`name`, `one_template`, `ensemble`: zero-shot by prompts; `probe`, `shots_1` and so on: probes of
    pools.

    Only sources by themselves have a `single` of 1: pools show the same pictures again.
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
                "single": float(data_set.train is None),
                "n": result.n_images,
            }
    return scores


def known_labels(dataset: PackedDataset, n: int) -> frozenset[str]:
    """The labels that a static softmax of n labels has: the most frequent of the training data, cleaned."""
    labels = (clean(item.label, "clip") for one in dataset.sources("train") for item in one.items)
    return frozenset(most_common(labels, n))


def by_known_names(model: Model, dataset: PackedDataset, n_labels: int) -> Scores:
    """Zero-shot `top1` on pictures whose name a static softmax knows, and on the others.

    `known` among the known names of the source, `known_of_all` and `unknown` among all of them.
    """
    vocabulary = known_labels(dataset, n_labels)
    scores: Scores = {}
    for source in each(dataset.sources(MEASURED), unit="source", desc=model.name):
        labels = [item.label for item in source.items]
        classes = source_classes(source)
        accepted = accepted_labels(source.images, labels)
        found = class_scores(model, source.images, classes)
        is_known = np.array([clean(name, "clip") in vocabulary for name in classes])
        column = {name: index for index, name in enumerate(classes)}
        of_known = np.array([is_known[column[label]] for label in labels])
        among_known = np.where(is_known, found, -np.inf)
        figures: dict[str, float] = {}
        for figure, similarity, chosen in (
            ("known", among_known, of_known),
            ("known_of_all", found, of_known),
            ("unknown", found, ~of_known),
        ):
            rows = np.flatnonzero(chosen)
            if len(rows):
                figures[figure] = top_k(similarity[rows], [accepted[row] for row in rows], classes, [1])[1]
        scores[source.name] = {
            **figures, "n_known": int(of_known.sum()), "n_unknown": int((~of_known).sum())
        }  # fmt: skip
    return scores
