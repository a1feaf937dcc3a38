"""The pictures with labels that a calibration is fitted on, as a model embeds them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.calibration import QueryKind
from diptych.bundle.encoder import Embeddings
from diptych.bundle.repository import ModelRepository
from diptych_training.data.label_key import label_key
from diptych_training.data.packed import PackedDataset, Split, read_dataset
from diptych_training.errors import DataError
from diptych_training.evaluate.calibrate.fit import Searches, simulate
from diptych_training.evaluate.embedding import embed_images, embed_texts
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.proof_set.file import proof_set_to_evaluate, read_proof_set
from diptych_training.evaluate.proof_set.proof_set import PROOF, REHEARSAL
from diptych_training.evaluate.proof_set.samples import Sample, draw_sample
from diptych_training.evaluate.ranking import Accepted, relevance

MAX_PICTURES = 4_000  # of a data set, in addition to those of the proof set
MAX_QUERIES = 2_000  # of each kind
BATCH_SIZE = 32  # more take memory, and are no faster on a CPU

Advance = Callable[[int], object]


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """N embedded pictures (N, D), the labels accepted for each, and the C embedded labels (C, D).

    The first `n_bank` pictures are the bank.
    """

    images: Embeddings
    accepted: Accepted
    labels: tuple[str, ...]
    texts: Embeddings
    n_bank: int

    def searches(self, kind: QueryKind, cohort: tuple[float, float]) -> Searches:
        """Search the pictures by their labels, or by those that share their label with another one.

        `cohort` is that of the standard scores.
        """
        return self._by_words(cohort) if kind == "text" else self._by_image(cohort)

    def _by_words(self, cohort: tuple[float, float]) -> Searches:
        chosen = _some(np.arange(len(self.labels)))
        relevant = relevance(self.accepted, self.labels).T[chosen]  # (Q, N)
        return simulate(self.texts[chosen] @ self.images.T, relevant, cohort)

    def _by_image(self, cohort: tuple[float, float]) -> Searches:
        names = np.array([min(labels) for labels in self.accepted])
        _, group, sizes = np.unique(names, return_inverse=True, return_counts=True)
        chosen = _some(np.flatnonzero(sizes[group] > 1))
        cosines = self.images[chosen] @ self.images.T  # (Q, N)
        relevant = group[chosen][:, None] == group[None]
        own = (np.arange(len(chosen)), chosen)
        cosines[own], relevant[own] = np.nan, False  # a picture does not find itself
        return simulate(cosines, relevant, cohort)


def proof_pictures(repository: ModelRepository, folder: Path, scratch: Path, size: int) -> PackedDataset:
    """The proof set of the version in `folder`, unpacked in `scratch`.

    In place of one that is only for parity, as that of an import: the default model's. Raises DataError
    without any.
    """
    proof_set = proof_set_to_evaluate(repository, folder) or read_proof_set(folder)
    if proof_set is None:
        raise DataError(
            f"{folder.parent.name}/{folder.name} has no proof set to calibrate with, and there is no default "
            "model that has one"
        )
    return proof_set.unpack(scratch, size)


def embed_pictures(
    model: EvaluatedModel, proof: PackedDataset, data: Path | None, advance: Advance
) -> LabelledPictures:
    """Embed the pictures of the proof set, and held-out ones of the data set in `data`, with their labels.

    The bank is the part of the proof set that no model trains on.
    """
    parts = [_drawn(proof, PROOF), _drawn(proof, REHEARSAL)]
    if data is not None:
        dataset = read_dataset(data)
        if not dataset.listed("validation"):
            raise DataError(f"{data} has no pictures in validation")
        parts.append(draw_sample(dataset, MAX_PICTURES, splits=("validation",)))
    images = [
        embed_images(model.encoder, part.images, model.image_spec, batch_size=BATCH_SIZE, advance=advance)
        for part in parts
        if len(part.accepted)
    ]
    accepted = _one_name_each([labels for part in parts for labels in part.accepted])
    labels = tuple(sorted(frozenset[str]().union(*accepted)))
    if not parts[0].accepted or not labels:
        raise DataError(f"the proof set {proof.name} has no pictures to calibrate with")
    return LabelledPictures(
        images=np.concatenate(images),
        accepted=accepted,
        labels=labels,
        texts=embed_texts(model.encoder, model.tokenizer, labels),
        n_bank=len(parts[0].accepted),
    )


def _one_name_each(accepted: Accepted) -> Accepted:
    """The labels, of those that differ in articles, case or punctuation only the first by name."""
    first: dict[str, str] = {}
    names = {
        label: first.setdefault(label_key(label), label) for label in sorted(frozenset().union(*accepted))
    }
    return [frozenset(names[label] for label in labels) for labels in accepted]


def n_pictures(proof: PackedDataset, data: Path | None) -> int:
    """How many pictures `embed_pictures` embeds, for a progress bar."""
    n = sum(entry.n for split in (PROOF, REHEARSAL) for _, entry in proof.listed(split))
    if data is None:
        return n
    return n + min(MAX_PICTURES, sum(entry.n for _, entry in read_dataset(data).listed("validation")))


def _drawn(proof: PackedDataset, split: Split) -> Sample:
    return draw_sample(proof, sum(entry.n for _, entry in proof.listed(split)), splits=(split,))


def _some(queries: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at most MAX_QUERIES of them, always the same ones, in order."""
    if len(queries) <= MAX_QUERIES:
        return queries
    return np.sort(np.random.default_rng(0).choice(queries, MAX_QUERIES, replace=False))
