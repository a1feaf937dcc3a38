"""The pictures of a packed data set that models are judged on, and their embeddings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, Pixels
from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.data.label_key import label_key
from diptych_training.data.packed import Kind, PackedDataset, PackedItem, PackedSource, SourceEntry
from diptych_training.evaluate.embedding import Advance, embed_images, embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.ranking import (
    Accepted,
    accepted_labels,
    best_ranks,
    image_to_text_recall,
    relevance,
    text_to_image_recall,
)
from diptych_training.evaluate.zero_shot import class_embeddings
from diptych_training.refresh.evaluation.candidates import Candidates, Texts, label_rows
from diptych_training.refresh.evaluation.results import Part, SetResult

SPLIT = "validation"
FOLD = "pairs-fold-"  # begins the name of the source that has the pairs of a fold


@dataclass(frozen=True)
class PictureSet:
    """N pictures of one or more sources, their N right answers, and the C labels to choose from, sorted.

    `chosen` are the sources, each with the positions of its pictures. Labels that the tokenizer cannot tell
    apart, or that differ in articles, case or punctuation only, are one label: the first of them by name.
    With `texts`, labels are those of a label set, each with its words, and `templates` are in the place of
    the model's.
    """

    name: str
    chosen: tuple[tuple[PackedSource, NDArray[np.int64]], ...]
    labels: tuple[str, ...]
    accepted: Accepted
    texts: tuple[Texts, ...] = ()
    templates: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.accepted)

    def pictures(self) -> Iterator[tuple[PackedSource, int]]:
        """The source of each picture, and its index there."""
        return ((source, int(index)) for source, chosen in self.chosen for index in chosen)

    def of_part(self, part: Part) -> NDArray[np.int64]:
        """The positions of the pictures of one part of the shipped set, in order."""
        return np.flatnonzero([part_of(source.kind) == part for source, _ in self.pictures()])

    def parts(self) -> list[Part]:
        """The parts of the shipped set that have pictures."""
        return sorted({part_of(source.kind) for source, _ in self.chosen})

    def captions(self) -> NDArray[np.int64]:
        """(N,): the number of each picture's caption, the first by name of its right labels."""
        first = [min(names, default="") for names in self.accepted]
        return np.unique(first, return_inverse=True)[1]

    def n_photographs(self) -> int | None:
        """How many photographs there are crops of, if each source has the crops of one; else None."""
        sources = [source for source, _ in self.chosen if part_of(source.kind) == "photographs"]
        are_crops = all(len({item.label for item in source.items}) == 1 for source in sources)
        return len(sources) if sources and are_crops else None

    def of_source(self, name: str) -> "PictureSet":
        """The pictures of one source, with the labels of the whole set to choose from."""
        rows = [row for row, (source, _) in enumerate(self.pictures()) if source.name == name]
        chosen = tuple(one for one in self.chosen if one[0].name == name)
        return replace(self, chosen=chosen, accepted=[self.accepted[row] for row in rows])

    def sample(self, n: int | None) -> "PictureSet":
        """`n` of the pictures, always the same ones, of each source about its share; all if `n` is None.

        The labels to choose from stay those of the whole set.
        """
        if n is None or n >= len(self):
            return self
        positions = (np.arange(n) + 0.5) * len(self) / n  # the middles of n equal parts
        kept = np.zeros(len(self), dtype=np.bool_)
        kept[positions.astype(np.int64)] = True
        ends = np.cumsum([len(chosen) for _, chosen in self.chosen])[:-1]
        sampled = (
            (source, chosen[part])
            for (source, chosen), part in zip(self.chosen, np.split(kept, ends), strict=True)
        )
        return replace(
            self,
            chosen=tuple((source, chosen) for source, chosen in sampled if len(chosen)),
            accepted=[self.accepted[position] for position in np.flatnonzero(kept)],
        )


@dataclass(frozen=True)
class EmbeddedSet:
    """A set as a model embeds it: pictures (N, D); labels through templates (C, D) and bare (C, D)."""

    pictures: PictureSet
    images: Embeddings
    class_rows: Embeddings
    text_rows: Embeddings


def part_of(kind: Kind) -> Part:
    """The part of the shipped set that a kind of pictures belongs to."""
    return "photographs" if kind == "pairs" else "drawings"


def fold_source(fold: int) -> str:
    """The name of the source that has the pairs of a fold."""
    return f"{FOLD}{fold}"


def judged(dataset: PackedDataset) -> list[tuple[str, SourceEntry]]:
    """The sources by whose pictures models are judged: split `validation`, or else those of the folds."""
    folds = [one for one in dataset.listed("train") if one[0].startswith(FOLD)]
    return dataset.listed(SPLIT) or folds


def open_sets(datasets: Sequence[PackedDataset], tokenizer: TextTokenizer) -> list[PictureSet]:
    """Open the pictures by which models are judged. Equal labels are equal in all data sets."""
    opened = [
        (dataset.name, tuple(dataset.source(name) for name, _ in judged(dataset))) for dataset in datasets
    ]
    names = label_names((item for _, sources in opened for item in _items(sources)), tokenizer)
    return [_picture_set(name, sources, names) for name, sources in opened]


def among_candidates(pictures: PictureSet, candidates: Candidates, spec: TextSpec) -> PictureSet:
    """The pictures with the labels of a label set to choose from. Raises as `Candidates.templates_of`."""
    return replace(
        pictures,
        labels=candidates.names,
        accepted=[candidates.of(source.items[index]) for source, index in pictures.pictures()],
        texts=candidates.labels,
        templates=candidates.templates_of(spec),
    )


def label_names(items: Iterator[PackedItem], tokenizer: TextTokenizer) -> dict[str, str]:
    """The name of each label: the first, by name, of those with the same tokens or the same `label_key`."""
    with_tokens: dict[tuple[int, ...], str] = {}
    with_key: dict[str, str] = {}
    names = {}
    for label in sorted({item.label for item in items}):
        first = with_tokens.setdefault(tuple(tokenizer.ids(label)[0].tolist()), label)
        names[label] = with_key.setdefault(label_key(first), first)
    return names


def embed_set(model: EvaluatedModel, pictures: PictureSet, advance: Advance) -> EmbeddedSet:
    """Embed pictures and labels; `advance` gets the number of embedded pictures. The set has pictures."""
    encoder, tokenizer, spec = model.encoder, model.tokenizer, model.image_spec
    images = [
        embed_images(encoder, source.images[chosen], spec, advance=advance)
        for source, chosen in pictures.chosen
    ]
    return EmbeddedSet(
        pictures=pictures,
        images=np.concatenate(images),
        class_rows=class_rows(model, pictures),
        text_rows=embed_texts(encoder, tokenizer, pictures.labels),
    )


def class_rows(model: EvaluatedModel, pictures: PictureSet) -> Embeddings:
    """(C, D): the labels of a set through templates."""
    if pictures.texts:
        return label_rows(model, pictures.texts, pictures.templates)
    return class_embeddings(model.encoder, model.tokenizer, pictures.labels, model.templates)


def among_labels_of(embedded: EmbeddedSet, other: EmbeddedSet) -> EmbeddedSet:
    """The pictures of a set with the labels of both sets to choose from."""
    known = frozenset(map(label_key, embedded.pictures.labels))
    names = other.pictures.labels
    added = [row for row, label in enumerate(names) if label_key(label) not in known]
    labels = (*embedded.pictures.labels, *(names[row] for row in added))
    return EmbeddedSet(
        pictures=replace(embedded.pictures, labels=labels),
        images=embedded.images,
        class_rows=np.concatenate([embedded.class_rows, other.class_rows[added]]),
        text_rows=np.concatenate([embedded.text_rows, other.text_rows[added]]),
    )


def score_set(embedded: EmbeddedSet, only: NDArray[np.int64] | None = None) -> SetResult:
    """Measure a set, or `only` the pictures at these positions.

    Zero-shot candidates are all labels of the set, also for a part of it; retrieval is among the pictures
    of the part and their labels.
    """
    labels = embedded.pictures.labels
    rows = np.arange(len(embedded.images)) if only is None else only
    accepted = [embedded.pictures.accepted[row] for row in rows]
    images = embedded.images[rows]  # (n, D)
    own = frozenset(chain.from_iterable(accepted))
    columns = [column for column, label in enumerate(labels) if label in own]
    texts, text_rows = [labels[column] for column in columns], embedded.text_rows[columns]  # (m, D)
    ranks = best_ranks(images @ embedded.class_rows.T, relevance(accepted, labels))
    return SetResult(
        n_labels=len(labels),
        ranks=tuple(ranks.tolist()),
        captions=tuple(embedded.pictures.captions()[rows].tolist()),
        text_to_image=text_to_image_recall(images, text_rows, accepted, texts),
        image_to_text=image_to_text_recall(images, text_rows, accepted, texts),
    )


def _picture_set(name: str, sources: tuple[PackedSource, ...], names: Mapping[str, str]) -> PictureSet:
    labels = [names[item.label] for item in _items(sources)]
    chosen = tuple((source, np.arange(len(source.items))) for source in sources)
    return PictureSet(name, chosen, tuple(sorted(set(labels))), accepted_labels(_images(sources), labels))


def _items(sources: Sequence[PackedSource]) -> Iterator[PackedItem]:
    return chain.from_iterable(source.items for source in sources)


def _images(sources: Sequence[PackedSource]) -> Iterator[Pixels]:
    return chain.from_iterable(source.images for source in sources)
