"""Measure one model on one data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from diptych.bundle.encoder import Embeddings
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet, Split
from diptych_training.evaluate.benchmark.data_sets.pictures import Pictures
from diptych_training.evaluate.benchmark.features import FeatureCache
from diptych_training.evaluate.benchmark.logistic import Labelled
from diptych_training.evaluate.benchmark.metrics import Relevant, Scores, measured
from diptych_training.evaluate.benchmark.probe import Parts, few_shot, probe, split_train
from diptych_training.evaluate.benchmark.results import (
    Confused,
    FewShot,
    Metrics,
    Probe,
    Prompts,
    Recalls,
    Result,
)
from diptych_training.evaluate.confusions import softmax, wrong_margins
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel, ScoredModel
from diptych_training.evaluate.ranking import RECALL_K, best_ranks, hit_rates
from diptych_training.evaluate.zero_shot import Classifier

NAME_ALONE = "{}"
N_CONFUSIONS = 4
DIGITS = 6  # of stored numbers
UNKNOWN = np.float32(-1e30)  # the score of a name that a model cannot score: below all others
NO_IMAGES = np.empty((0, 0), dtype=np.float32)

Model = EvaluatedModel | ScoredModel


@dataclass(frozen=True)
class MeasureSettings:
    """How data sets are measured. `shots` are the examples a class of few-shot probes, each with every seed.

    Without `probes`, training pictures are not needed.
    """

    probes: bool = True
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seeds: int = 3

    def settings(self, templates: Sequence[str]) -> str:
        """A digest of everything that decides a result, apart from model and data."""
        return sha256(repr((self, templates)).encode()).hexdigest()[:16]


def is_current(result: Result, model: Model, data_set: DataSet, plan: MeasureSettings) -> bool:
    """Whether the result is of this very model and data, measured in this way."""
    return (
        result.identity == model.identity
        and result.settings == plan.settings(templates_of(model, data_set))
        and result.content == data_set.content
    )


def pictures_of(data_set: DataSet, plan: MeasureSettings) -> list[Pictures]:
    """All pictures that are embedded for a data set."""
    splits = data_set.splits() if _is_probed(data_set, plan) else (data_set.test,)
    return [split.pictures for split in splits if split is not None]


def _is_probed(data_set: DataSet, plan: MeasureSettings) -> bool:
    return plan.probes and data_set.task == "classification" and data_set.train is not None


def templates_of(model: Model, data_set: DataSet) -> tuple[str, ...]:
    """The templates of the data set, or else of the model."""
    return data_set.templates or model.templates


def measure(
    model: Model,
    data_set: DataSet,
    plan: MeasureSettings,
    classifier: Classifier | None,
    features: FeatureCache,
) -> Result:
    """All measurements. `classifier` embeds class names with the model's text tower, if it has one."""
    templates = templates_of(model, data_set)
    relevant = data_set.test.relevance(len(data_set.texts))
    images = NO_IMAGES  # (N, D)
    if isinstance(model, EvaluatedModel) or _is_probed(data_set, plan):
        images = features.images(model, data_set.test.pictures)
    found = _scores(model, data_set, images, classifier, features)
    n_unknown = int(np.isneginf(found["name"]).all(axis=0).sum()) if found else 0
    scores = {name: np.maximum(some, UNKNOWN) for name, some in found.items()}
    probed, few = _probes(model, data_set, plan, features, images)
    return Result(
        model=model.name,
        identity=model.identity,
        runtime=model.runtime,
        data_set=data_set.name,
        group=data_set.group,
        task=data_set.task,
        content=data_set.content,
        settings=plan.settings(templates),
        n_images=len(data_set.test.pictures),
        n_texts=len(data_set.texts),
        n_unknown=n_unknown,
        metric=data_set.metric,
        templates=templates if scores else (),
        zero_shot={name: rounded(measured(data_set, data_set.test, some)) for name, some in scores.items()},
        probe=probed,
        few_shot=few,
        retrieval=_recalls(model, data_set, images, relevant)
        if data_set.retrieves and isinstance(model, EvaluatedModel)
        else None,
        confusions=_confusions(data_set, scores["ensemble"], relevant, model.logit_scale)
        if data_set.task == "classification"
        else (),
    )


def rounded(metrics: Metrics) -> Metrics:
    """Metrics as they are stored."""
    return {name: round(value, DIGITS) for name, value in metrics.items()}


def _prompts(data_set: DataSet, templates: Sequence[str]) -> dict[Prompts, Sequence[str]]:
    """The templates of each way to prompt: none, the first one, all."""
    if data_set.task == "retrieval":
        return {}
    one = next((template for template in templates if template != NAME_ALONE), NAME_ALONE)
    return {"name": [NAME_ALONE], "one_template": [one], "ensemble": templates}


def _scores(
    model: Model, data_set: DataSet, images: Embeddings, classifier: Classifier | None, features: FeatureCache
) -> dict[Prompts, Scores]:
    """(N, C) by the way to prompt: cosines, or what the objective of a model without a text tower says."""
    prompts = _prompts(data_set, templates_of(model, data_set))
    if isinstance(model, EvaluatedModel):
        assert classifier is not None
        return {name: images @ classifier(data_set.texts, some).T for name, some in prompts.items()}
    found = features.scores(
        model, data_set.test.pictures, data_set.texts, list(prompts.values()), is_counted=not len(images)
    )
    return dict(zip(prompts, found, strict=True))


def _probes(
    model: Model, data_set: DataSet, plan: MeasureSettings, features: FeatureCache, test: Embeddings
) -> tuple[Probe | None, tuple[FewShot, ...]]:
    """Probes of a data set with training pictures."""
    if data_set.train is None or not _is_probed(data_set, plan):
        return None, ()

    def labelled(split: Split) -> Labelled:
        return Labelled(features.images(model, split.pictures), split.labels)

    train = labelled(data_set.train)
    train, validation = (
        split_train(train) if data_set.validation is None else (train, labelled(data_set.validation))
    )
    parts = Parts(
        train, validation, test, len(data_set.texts), lambda scores: measured(data_set, data_set.test, scores)
    )
    found = probe(parts)
    few = [
        FewShot(shots=k, seed=seed, score=round(one.metrics[data_set.metric], DIGITS), l2=one.l2)
        for k, seed, one in few_shot(parts, plan.shots, plan.seeds)
    ]
    n_train, n_validation = len(train.labels), len(validation.labels)
    probed = Probe(metrics=rounded(found.metrics), l2=found.l2, n_train=n_train, n_validation=n_validation)
    return probed, tuple(few)


def _recalls(model: EvaluatedModel, data_set: DataSet, images: Embeddings, relevant: Relevant) -> Recalls:
    """Recall@k among the texts that are right for some picture, as they stand."""
    used = np.flatnonzero(relevant.any(axis=0))
    texts = embed_texts(model.encoder, model.tokenizer, [data_set.texts[index] for index in used])
    similarity = images @ texts.T  # (N, M)
    among = relevant[:, used]
    return Recalls(
        text_to_image=hit_rates(best_ranks(similarity.T, among.T), RECALL_K),
        image_to_text=hit_rates(best_ranks(similarity, among), RECALL_K),
    )


def _confusions(
    data_set: DataSet, scores: Scores, relevant: Relevant, logit_scale: float
) -> tuple[Confused, ...]:
    """The pictures with the widest margins of a wrong class over the right one, each pair of classes once.

    A right class whose name is unknown is not confused with another.
    """
    margins = wrong_margins(scores, relevant)
    margins[np.where(relevant, scores, UNKNOWN).max(axis=1) == UNKNOWN] = -np.inf
    found: dict[tuple[str, str], Confused] = {}
    for index in np.argsort(-margins, kind="stable"):
        if margins[index] <= 0 or len(found) == N_CONFUSIONS:
            break
        given = int(np.where(relevant[index], -np.inf, scores[index]).argmax())
        right = int(np.where(relevant[index], scores[index], -np.inf).argmax())
        names = data_set.texts[right], data_set.texts[given]
        probability = float(softmax(logit_scale * scores[index])[given])
        found.setdefault(
            names,
            Confused(picture=int(index), right=names[0], given=names[1], probability=round(probability, 4)),
        )
    return tuple(found.values())
