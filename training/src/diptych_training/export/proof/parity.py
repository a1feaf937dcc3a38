"""Measure how closely one implementation of a model matches another.

The reference is a set of embeddings (of a torch model, or of a checkpoint's own library); the candidate is a
pair of encode functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.bundle.manifest import Parity
from diptych_training.evaluate.ranking import best_ranks, hit_rates

EncodeImage = Callable[[Pixels], Embeddings]
EncodeText = Callable[[InputIds], Embeddings]
Pad = Callable[[Sequence[NDArray[np.int32]]], InputIds]
Advance = Callable[[int], object]

BATCH_SIZE = 32
N_INVARIANCE = 32  # items that are encoded in three batch compositions
ODD_BATCH = 5  # size of the batches with other neighbours
MIN_JUDGED = 0.5  # near ties are excluded only if at least this share of the images remains


@dataclass(frozen=True)
class EncodeFunctions:
    """One implementation: (B, S, S, 3) uint8 -> (B, D), and (B, L) int32 -> (B, D)."""

    encode_image: EncodeImage
    encode_text: EncodeText


class PixelRows(Protocol):
    """(N, S, S, 3) uint8, in memory or in a file of which only the requested rows are read."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> Pixels: ...


@dataclass(frozen=True)
class SampleEmbeddings:
    """Embeddings of a sample: `images` (N, D) and `texts` (M, D), float32 of unit norm."""

    images: Embeddings
    texts: Embeddings


@dataclass(frozen=True)
class ParitySample:
    """Real inputs: `pixels` (N, S, S, 3), M unpadded rows of ids, and which text fits which image (N, M)."""

    pixels: PixelRows
    input_ids: Sequence[NDArray[np.int32]]
    relevant: NDArray[np.bool_]


def measure_parity(
    reference: SampleEmbeddings, candidate: EncodeFunctions, sample: ParitySample, pad: Pad, advance: Advance
) -> Parity:
    """Compare a candidate with the reference's embeddings of the whole sample.

    `pad` makes a batch of rows; `advance` receives the number of images done.

    - `cosine_min`, `cosine_mean`: between the two embeddings of each image and of each text.
    - `top1_agreement`, `n_near_ties`: see `top1_agreement`.
    - `recall_delta`: change of Recall@1 in the worse direction.
    - `batch_cosine_min`: see `batch_cosine_min`.

    Texts of equal ids count as one for agreement and recall: no model could tell them apart.
    """
    answers = embed(candidate, sample, pad, advance)
    pairs = [(reference.images, answers.images), (reference.texts, answers.texts)]
    cosines = np.concatenate([row_cosines(expected, found) for expected, found in pairs])
    distinct, of_text = _distinct_texts(sample.input_ids)
    expected, found = (made.images @ made.texts[distinct].T for made in (reference, answers))  # (N, T) each
    agreement, n_near_ties = top1_agreement(expected, found)
    return Parity(
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        top1_agreement=agreement,
        n_near_ties=n_near_ties,
        recall_delta=recall_delta(expected, found, _relevant_to_any(sample.relevant, of_text)),
        batch_cosine_min=batch_cosine_min(candidate, sample, pad),
        n_images=len(sample.pixels),
        n_texts=len(sample.input_ids),
    )


def row_cosines(a: Embeddings, b: Embeddings) -> NDArray[np.float64]:
    """(N, D), (N, D) -> (N,) cosines, computed in float64 so that the measure adds no error."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    cosines: NDArray[np.float64] = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    return np.minimum(cosines, 1.0)


def top1_agreement(expected: Embeddings, found: Embeddings) -> tuple[float, int]:
    """(N, M) cosines of images with texts, twice -> (share of images with the same best text, near ties).

    Near ties are images whose reference margin between the first and the second text is below twice the
    cosine error. They are excluded, unless they are more than `1 - MIN_JUDGED` of the images: then all images
    count, since a handful proves nothing.

    The cosine error is the mean of ``|found - expected|`` over all pairs. It is not the maximum, since a
    single bad text would excuse nearly every image; nor the error of each image's two texts, since the best
    text cannot change without an error of half its margin, so that no image would ever be judged wrong.
    """
    ordered = np.sort(expected, axis=1)
    cosine_error = float(np.abs(found - expected).mean(dtype=np.float64))
    clear = ordered[:, -1] - ordered[:, -2] >= 2 * cosine_error
    same = expected.argmax(axis=1) == found.argmax(axis=1)
    judged = same[clear] if clear.mean() >= MIN_JUDGED else same
    return float(judged.mean()), int((~clear).sum())


def recall_delta(expected: Embeddings, found: Embeddings, relevant: NDArray[np.bool_]) -> float:
    """(N, M) similarities, twice -> the worse change of Recall@1 over image_to_text and text_to_image."""
    directions = [(expected, found, relevant), (expected.T, found.T, relevant.T)]
    return min(
        _recall_at_1(after, right) - _recall_at_1(before, right) for before, after, right in directions
    )


def batch_cosine_min(candidate: EncodeFunctions, sample: ParitySample, pad: Pad) -> float:
    """The lowest cosine between embeddings of one item alone, in a full batch, and with other neighbours."""
    pixels = sample.pixels[_spread(len(sample.pixels))]  # (n, S, S, 3)
    rows = [sample.input_ids[index] for index in _spread(len(sample.input_ids))]
    image_lows = _batch_composition_cosine(lambda items: candidate.encode_image(pixels[items]), len(pixels))
    text_lows = _batch_composition_cosine(
        lambda items: candidate.encode_text(pad([rows[i] for i in items])), len(rows)
    )
    return min(image_lows, text_lows)


def _batch_composition_cosine(encode: Callable[[Sequence[int]], Embeddings], n: int) -> float:
    together = encode(range(n))
    alone = np.concatenate([encode([index]) for index in range(n)])
    order = np.random.default_rng(0).permutation(n)
    odd = np.concatenate(
        [encode(order[start : start + ODD_BATCH].tolist()) for start in range(0, n, ODD_BATCH)]
    )
    mixed = odd[np.argsort(order)]
    pairs = [(alone, together), (alone, mixed), (together, mixed)]
    return min(float(row_cosines(a, b).min()) for a, b in pairs)


def _spread(n_items: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n_items - 1, min(N_INVARIANCE, n_items)).astype(np.int64))


def embed(parts: EncodeFunctions, sample: ParitySample, pad: Pad, advance: Advance) -> SampleEmbeddings:
    """Embed the whole sample with one implementation; `advance` receives the number of images done."""
    images, texts = [], []
    for start in range(0, len(sample.pixels), BATCH_SIZE):
        pixels = sample.pixels[start : start + BATCH_SIZE]
        images.append(parts.encode_image(pixels))
        advance(len(pixels))
    for start in range(0, len(sample.input_ids), BATCH_SIZE):
        texts.append(parts.encode_text(pad(sample.input_ids[start : start + BATCH_SIZE])))
    return SampleEmbeddings(np.concatenate(images), np.concatenate(texts))


def _distinct_texts(rows: Sequence[NDArray[np.int32]]) -> tuple[list[int], NDArray[np.int64]]:
    """The first text of each sequence of ids, and for each of M texts the number (M,) of its sequence."""
    numbers: dict[bytes, int] = {}
    of_text = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    return [of_text.index(number) for number in range(len(numbers))], np.array(of_text, dtype=np.int64)


def _relevant_to_any(relevant: NDArray[np.bool_], of_text: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, M) for texts -> (N, T) for their sequences of ids."""
    merged = np.zeros((len(relevant), of_text.max(initial=-1) + 1), dtype=np.bool_)
    for text, number in enumerate(of_text):
        merged[:, number] |= relevant[:, text]
    return merged


def _recall_at_1(similarity: Embeddings, relevant: NDArray[np.bool_]) -> float:
    asked = relevant.any(axis=1)
    return hit_rates(best_ranks(similarity[asked], relevant[asked]), [1])[1]
