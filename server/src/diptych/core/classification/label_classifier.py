"""Classify image embeddings against any list of labels."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from diptych.core.classification import scoring
from diptych.core.classification.label_cache import (
    Classifier,
    LabelCache,
    ListKey,
    keys_of,
    list_key,
)
from diptych.core.classification.label_checks import PLACE, check_labels, check_templates
from diptych.core.concurrency.single_flight import SingleFlight
from diptych.core.encoding.embedder import Embedder
from diptych.core.encoding.weighed_cache import WeighedCache
from diptych.core.ports import Metrics
from diptych.core.types import Embedding, Embeddings, ModelInfo, Prediction, TextEmbedding, TextOutcome
from diptych.errors import DiptychError, InputError, InvalidValue, Overloaded, TooLarge

# Embeddings (N, D) and the rows (C, D) of labels -> cosines and scores, (N, C) each.
Scorer = Callable[[Embeddings, Embeddings], tuple[scoring.Cosines, scoring.Scores]]
MAX_COSINES_ON_LOOP = 20_000  # a fraction of a millisecond; more would keep other requests waiting


class LabelClassifier:
    """Zero-shot classification: the text encoder turns labels into the rows of a linear classifier.

    A label's embedding is the mean over its templates, scaled back to unit norm (Radford et al. 2021, 3.1.4).
    Single labels are cached, so that a known label needs no text encoding, and whole lists as well, so that a
    repeated list costs next to nothing. Requests that bring the same new list at the same time share one
    encoding of it: each alone would occupy half the text queue.
    """

    def __init__(
        self,
        *,
        model: ModelInfo,
        embedder: Embedder,
        metrics: Metrics,
        max_labels: int = 10_000,
        max_label_texts: int = 200_000,
        max_cached_labels: int = 50_000,
    ) -> None:
        self._model = model
        self._embedder = embedder
        self._metrics = metrics
        self._max_labels = max_labels
        self._max_label_texts = max_label_texts
        self._cache = LabelCache(max_cached_labels)
        # Without it, a list of a thousand known labels costs a thousand look-ups and a copy of all rows.
        self._classifiers: WeighedCache[ListKey, Classifier] = WeighedCache(max_cached_labels // 2)
        self._in_flight: SingleFlight[ListKey, Classifier] = SingleFlight()

    @property
    def model(self) -> ModelInfo:
        """The model that makes the vectors of labels."""
        return self._model

    @property
    def prompts(self) -> Mapping[str, tuple[str, ...]]:
        """The named template sets of the model."""
        return self._model.prompts

    async def classify(
        self,
        images: Embeddings,
        labels: Sequence[str],
        templates: Sequence[str],
        *,
        multi_label: bool = False,
        top_k: int | None = None,
    ) -> list[list[Prediction]]:
        """(N, D) unit rows and C labels -> for each image its predictions, best first, at most `top_k`.

        Scores are a softmax over the given labels; with `multi_label` each label is scored alone. Raises
        InvalidValue naming the label or template, TooLarge, Overloaded, NotReady, EncoderFailed.
        """
        if top_k is not None and top_k < 1:
            raise InvalidValue(f"top_k is {top_k}, it must be at least 1", "top_k")
        classifier = await self.classifier(labels, templates)
        score = await self.scorer(templates, multi_label=multi_label)
        predict = partial(_predict, images, classifier, score, labels=labels, top_k=top_k)
        if len(images) * len(labels) <= MAX_COSINES_ON_LOOP:
            return predict()
        return await asyncio.to_thread(predict)

    async def label_embeddings(self, labels: Sequence[str], templates: Sequence[str]) -> Embeddings:
        """C labels -> (C, D) unit rows, from the cache where possible."""
        return (await self._encoded(list_key(templates, labels))).rows

    async def scorer(self, templates: Sequence[str], *, multi_label: bool) -> Scorer:
        """What makes scores of embeddings, with labels in these templates. Raises as `classify`."""
        empty = await self._empty_embedding(templates) if multi_label else None  # (D,)

        def score(images: Embeddings, rows: Embeddings) -> tuple[scoring.Cosines, scoring.Scores]:
            cosines: scoring.Cosines = images @ rows.T  # (N, D) @ (D, C) -> (N, C)
            return cosines, self._scores(images, cosines, empty, multi_label)

        return score

    async def classifier(self, labels: Sequence[str], templates: Sequence[str]) -> Classifier:
        """Return the classifier of a list, cached or new. A list that is not cached is checked; raises as
        `classify`.
        """
        key = list_key(templates, labels)
        known = self._classifiers.get(key)
        if known is not None:
            self._metrics.count_label_cache(len(labels), 0)
            return known
        self._check(labels, templates)
        classifier = await self._encoded(key)
        self._classifiers.put(key, classifier, len(labels))
        return classifier

    async def _encoded(self, key: ListKey) -> Classifier:
        """Wait for the classifier that another request computes, or compute it."""
        templates, labels = key
        if key not in self._in_flight:
            return await self._in_flight.get(key, partial(self._encode, labels, templates))
        try:
            classifier = await self._in_flight.get(key, partial(self._encode, labels, templates))
        except Overloaded:  # counted for the first request only
            self._metrics.count_rejected("tokenize_full")
            raise
        self._metrics.count_label_cache(len(labels), 0)
        return classifier

    async def _encode(self, labels: Sequence[str], templates: Sequence[str]) -> Classifier:
        entries = await self._entries(labels, templates)  # C of (D,)
        rows = np.stack([entry.embedding for entry in entries])  # (C, D)
        return Classifier(rows, tuple(entry.truncated for entry in entries))

    async def _entries(self, labels: Sequence[str], templates: Sequence[str]) -> list[TextEmbedding]:
        """C labels -> C embeddings (D,), each with whether the label was truncated in any template."""
        keys = keys_of(self._model.identity, templates, labels)
        known = self._cache.get_many(keys)
        missing = [index for index, key in enumerate(keys) if key not in known]
        self._metrics.count_label_cache(len(keys) - len(missing), len(missing))
        if missing:
            rows = await self._embed_labels([labels[index] for index in missing], templates, missing)
            fresh = {keys[index]: row for index, row in zip(missing, rows, strict=True)}
            self._cache.put_many(fresh)
            known |= fresh
        return [known[key] for key in keys]

    async def _embed_labels(
        self, labels: Sequence[str], templates: Sequence[str], positions: Sequence[int]
    ) -> list[TextEmbedding]:
        """Encode every label in every template, in chunks that the text queue can hold.

        Only sums are kept: all texts of 10,000 labels in 20 templates at once would take gigabytes.
        """
        n_templates = len(templates)
        sums = np.zeros((len(labels), self._model.embed_dim), np.float32)  # (C, D)
        truncated = np.zeros(len(labels), np.bool_)  # (C,)
        step = max(self._embedder.max_texts // 2, 1)  # half the queue: a long list must not shut others out
        n_texts = len(labels) * n_templates
        for start in range(0, n_texts, step):
            pairs = [divmod(n, n_templates) for n in range(start, min(start + step, n_texts))]
            texts = [templates[template].replace(PLACE, labels[label]) for label, template in pairs]
            outcomes = await self._embedder.embed_texts(texts)
            for (label, _), outcome in zip(pairs, outcomes, strict=True):
                part = _label_part(outcome, positions[label])
                sums[label] += part.embedding
                truncated[label] |= part.truncated
        means = scoring.normalised(sums)  # (C, D)
        # Copies: a view would keep the array of the whole list alive as long as one label is cached.
        return [TextEmbedding(row.copy(), bool(cut)) for row, cut in zip(means, truncated, strict=True)]

    async def _empty_embedding(self, templates: Sequence[str]) -> Embedding | None:
        """The embedding that CLIP's multi-label scores compare with; None for SigLIP, which needs none."""
        if self._model.family == "siglip":
            return None
        empty: Embedding = (await self.label_embeddings([""], templates))[0]
        return empty

    def _scores(
        self, images: Embeddings, cosines: scoring.Cosines, empty: Embedding | None, multi_label: bool
    ) -> scoring.Scores:
        """(N, C) probabilities over all labels, or with `multi_label` for each label alone."""
        logits = scoring.zero_shot_logits(cosines, self._model.logit_scale)
        if not multi_label:
            return scoring.softmax(logits)
        if empty is None:  # SigLIP was trained with a sigmoid and a bias (Zhai et al. 2023)
            return scoring.sigmoid(logits + np.float32(self._model.logit_bias))
        # (N, 1)
        empty_logits = scoring.zero_shot_logits(images @ empty[:, np.newaxis], self._model.logit_scale)
        return scoring.against_empty(logits, empty_logits)

    def _check(self, labels: Sequence[str], templates: Sequence[str]) -> None:
        if len(labels) > self._max_labels:
            raise TooLarge(f"{len(labels)} labels, the limit is {self._max_labels}", "labels")
        n_texts = len(labels) * len(templates)
        if n_texts > self._max_label_texts:
            raise TooLarge(
                f"{len(labels)} labels in {len(templates)} templates are {n_texts} texts, "
                f"the limit is {self._max_label_texts}",
                "templates",
            )
        check_labels(labels)
        check_templates(templates)


def _predict(
    images: Embeddings,
    classifier: Classifier,
    score: Scorer,
    *,
    labels: Sequence[str],
    top_k: int | None,
) -> list[list[Prediction]]:
    cosines, scores = score(images, classifier.rows)  # (N, C) each
    return [
        [
            Prediction(
                labels[column],
                float(scores[row, column]),
                float(cosines[row, column]),
                classifier.truncated[column],
            )
            for column in scoring.top_k(cosines[row], top_k)  # not by score: scores saturate and then tie
        ]
        for row in range(len(images))
    ]


def _label_part(outcome: TextOutcome, position: int) -> TextEmbedding:
    if isinstance(outcome, InputError):
        raise outcome.named(f"labels[{position}]")
    if isinstance(outcome, DiptychError):
        raise outcome
    return outcome
