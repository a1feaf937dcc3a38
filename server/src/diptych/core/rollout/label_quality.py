"""Zero-shot accuracy and Recall@10 of two indexes, where metadata hold the labels of images."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors
from diptych.core.collections.metadata.filters import Exists, Path
from diptych.core.collections.reembed import Pace
from diptych.core.rollout.comparison import LabelQuality
from diptych.core.rollout.overlap import ComparedQuery, compare_hits, sample
from diptych.core.rollout.ports import ComparedImages
from diptych.core.rollout.text_vectors import TextVectors
from diptych.core.types import Embedding, Embeddings, Keys, Metadata

MAX_READ = 10_000  # images whose metadata are read
MAX_LABELS = 1_000
MAX_LABEL_TEXTS = 5_000  # labels x templates; beyond, the first templates only
MAX_CLASSIFIED = 2_000  # images
MAX_LABEL_QUERIES = 200
PAGE = 500  # rows read at a time
MAX_LABEL_CHARS = 200


@dataclass(frozen=True, eq=False)
class LabelJudge:
    """Judges old and new vectors of collections whose metadata have the label field.

    `label_field` is a key, or several with dots between them as in filters; its value is a label, or a list.
    """

    label_field: str
    images: ComparedImages
    texts: TextVectors = field(default_factory=TextVectors)

    async def judge(
        self,
        collection: LoadedCollection,
        old: IndexedVectors,
        new: IndexedVectors,
        allowed: Keys | None,
        pace: Pace,
    ) -> LabelQuality | None:
        """Judge the images that both sides have. None with fewer than two labels, or no image to judge.

        Raises NotFound once the collection is dropped, NotReady, EncoderFailed, StoreError.
        """
        path = tuple(self.label_field.split("."))
        keys = await collection.read(lambda name: self.images.matching_keys(name, Exists(path, True)))
        unindexed = old.unindexed | new.unindexed
        keys = keys[~np.isin(keys, list(unindexed))]
        labels_of = await self._labels_of(sample(keys, MAX_READ), path)
        old_rows, new_rows = await self._class_rows(_most_common(labels_of), old, new, pace)
        accuracies = await self._accuracies(labels_of, old_rows, new_rows, old, new)
        if len(old_rows) < 2 or accuracies is None:
            return None
        n_images, old_accuracy, new_accuracy = accuracies
        asked = _spread(sorted(old_rows), MAX_LABEL_QUERIES)
        old_recall, new_recall = 0, 0
        for label in asked:
            began = time.perf_counter()
            query = ComparedQuery(old_rows[label], new_rows[label], label)
            hits = await compare_hits(query, old, new, allowed)
            found = await self._labels_of([*hits.old, *hits.new], path)
            old_recall += any(label in found.get(key, ()) for key in hits.old)
            new_recall += any(label in found.get(key, ()) for key in hits.new)
            await pace.pause(time.perf_counter() - began, encoded_s=0)
        return LabelQuality(
            label_field=self.label_field,
            n_labels=len(old_rows),
            n_images=n_images,
            n_label_queries=len(asked),
            old_accuracy=old_accuracy,
            new_accuracy=new_accuracy,
            old_recall_at_10=old_recall / len(asked),
            new_recall_at_10=new_recall / len(asked),
        )

    async def _labels_of(self, keys: Sequence[int], path: Path) -> dict[int, tuple[str, ...]]:
        """The labels of each image that has any, in the order of the keys."""
        found: dict[int, tuple[str, ...]] = {}
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            records = await self.images.by_key(page)
            labels = {key: labels_in(records[key].metadata, path) for key in page if key in records}
            found |= {key: of_image for key, of_image in labels.items() if of_image}
        return found

    async def _class_rows(
        self, labels: Sequence[str], old: IndexedVectors, new: IndexedVectors, pace: Pace
    ) -> tuple[Mapping[str, Embedding], Mapping[str, Embedding]]:
        """The vectors (D,) of the labels that both sides can embed, in the same order."""
        rows = []
        for vectors in (old, new):
            templates = vectors.model.prompts["default"]
            n_templates = max(MAX_LABEL_TEXTS // max(len(labels), 1), 1)
            rows.append(await self.texts.of_labels(vectors.pipeline, labels, templates[:n_templates], pace))
        both = [label for label in labels if all(label in of_side for of_side in rows)]
        old_rows, new_rows = ({label: of_side[label] for label in both} for of_side in rows)
        return old_rows, new_rows

    async def _accuracies(
        self,
        labels_of: Mapping[int, tuple[str, ...]],
        old_rows: Mapping[str, Embedding],
        new_rows: Mapping[str, Embedding],
        old: IndexedVectors,
        new: IndexedVectors,
    ) -> tuple[int, float, float] | None:
        """The number of images judged, and the share of them that each side labels rightly."""
        keys = [key for key, labels in labels_of.items() if any(label in old_rows for label in labels)]
        old_images = await self.images.embeddings_of(keys[:MAX_CLASSIFIED], old.identity)
        new_images = await self.images.embeddings_of(keys[:MAX_CLASSIFIED], new.identity)
        both = [key for key in keys[:MAX_CLASSIFIED] if key in old_images and key in new_images]
        if not both:
            return None
        truth = [labels_of[key] for key in both]
        old_share = accuracy(np.stack([old_images[key] for key in both]), old_rows, truth)
        new_share = accuracy(np.stack([new_images[key] for key in both]), new_rows, truth)
        return len(both), old_share, new_share


def accuracy(images: Embeddings, classes: Mapping[str, Embedding], truth: Sequence[Sequence[str]]) -> float:
    """(N, D) images, C labels with their vectors (D,) -> the share whose nearest label is one of its own."""
    names = list(classes)
    cosines = images @ np.stack(list(classes.values())).T  # (N, D) @ (D, C) -> (N, C)
    best = cosines.argmax(axis=1).tolist()
    return sum(names[column] in own for column, own in zip(best, truth, strict=True)) / len(best)


def labels_in(metadata: Metadata, path: Path) -> tuple[str, ...]:
    """The labels at the path: the text there, or the texts of a list."""
    value: Any = metadata
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    values = value if isinstance(value, list) else [value]
    return tuple(one for one in values if isinstance(one, str) and 0 < len(one) <= MAX_LABEL_CHARS)


def _most_common(labels_of: Mapping[int, tuple[str, ...]]) -> list[str]:
    counts = Counter(label for labels in labels_of.values() for label in set(labels))
    return sorted(counts, key=lambda label: (-counts[label], label))[:MAX_LABELS]


def _spread(labels: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of the labels, evenly spread over them."""
    n = min(limit, len(labels))
    return [labels[i * len(labels) // n] for i in range(n)]
