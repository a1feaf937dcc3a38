"""The parity measures, on encode functions that differ in known ways."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.bundle.manifest import Parity
from diptych.bundle.parity import broken_bounds
from diptych_training.errors import ParityFailed, TooFewSamples
from diptych_training.export.proof.parity import (
    EncodeFunctions,
    ParitySample,
    batch_cosine_min,
    embed,
    measure_parity,
    top1_agreement,
)
from diptych_training.export.proof.prove import require_parity
from support.bundle_examples import parity

N_ITEMS, DIM = 40, 8


def unit(rows: NDArray[np.float64]) -> Embeddings:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rows_of(seeds: Sequence[int]) -> Embeddings:
    """One random row for each seed: item n as image and item n as text share theirs."""
    return unit(np.stack([np.random.default_rng(seed).standard_normal(DIM) for seed in seeds]))


def encode_image(pixels: Pixels) -> Embeddings:
    return rows_of(pixels[:, 0, 0, 0].tolist())


def encode_text(input_ids: InputIds) -> Embeddings:
    return rows_of(input_ids[:, 0].tolist())


def pad(rows: Sequence[NDArray[np.int32]]) -> InputIds:
    padded = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def nobody(_: int) -> None:
    """Progress that nobody watches."""


EXACT = EncodeFunctions(encode_image, encode_text)


def parity_of(candidate: EncodeFunctions, sample: ParitySample) -> Parity:
    return measure_parity(embed(EXACT, sample, pad, nobody), candidate, sample, pad, nobody)


@pytest.fixture
def sample() -> ParitySample:
    pixels = np.zeros((N_ITEMS, 2, 2, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(N_ITEMS)
    rows = [np.array([index] + [1] * (index % 3), dtype=np.int32) for index in range(N_ITEMS)]
    return ParitySample(pixels, rows, np.eye(N_ITEMS, dtype=bool))


def test_a_model_is_in_parity_with_itself(sample: ParitySample) -> None:
    parity = parity_of(EXACT, sample)

    assert parity.cosine_min == parity.batch_cosine_min == pytest.approx(1)
    assert (parity.top1_agreement, parity.recall_delta, parity.n_near_ties) == (1, 0, 0)
    assert (parity.n_images, parity.n_texts) == (N_ITEMS, N_ITEMS)


def test_one_wrong_image_shows_in_the_minimum_and_in_agreement(sample: ParitySample) -> None:
    def one_wrong(pixels: Pixels) -> Embeddings:
        rows = encode_image(pixels)
        rows[pixels[:, 0, 0, 0] == 7] = rows_of([8])
        return rows

    parity = parity_of(replace(EXACT, encode_image=one_wrong), sample)

    assert parity.cosine_min < 0.9 < parity.cosine_mean < 1
    # text_to_image is the worse way: text 7 lost its image, and text 8 now has a rival that ties.
    assert parity.recall_delta == pytest.approx(-2 / N_ITEMS)


def test_texts_of_equal_ids_count_as_one(sample: ParitySample) -> None:
    jitter = np.random.default_rng(0).standard_normal((N_ITEMS, DIM)) * 1e-5

    def slightly_other(input_ids: InputIds) -> Embeddings:  # by the place of a text in its batch
        return unit(encode_text(input_ids) + jitter[: len(input_ids)])

    twins = [sample.input_ids[index - index % 2] for index in range(N_ITEMS)]
    parity = parity_of(replace(EXACT, encode_text=slightly_other), replace(sample, input_ids=twins))

    assert (parity.top1_agreement, parity.n_near_ties, parity.recall_delta) == (1, 0, 0)
    assert parity.n_texts == N_ITEMS


def test_a_row_that_depends_on_its_neighbours_breaks_batch_invariance(sample: ParitySample) -> None:
    def blended(pixels: Pixels) -> Embeddings:
        rows = encode_image(pixels).astype(np.float64)
        return unit(rows + 0.05 * rows.mean(axis=0))

    assert batch_cosine_min(EXACT, sample, pad) == pytest.approx(1)
    assert batch_cosine_min(replace(EXACT, encode_image=blended), sample, pad) < 0.9999


def test_a_row_that_is_another_one_when_alone_breaks_batch_invariance(sample: ParitySample) -> None:
    def other_alone(input_ids: InputIds) -> Embeddings:
        rows = encode_text(input_ids)
        return rows[:, ::-1] if len(rows) == 1 else rows

    assert batch_cosine_min(replace(EXACT, encode_text=other_alone), sample, pad) < 0.9999


def similarities(margins: Sequence[float], n_texts: int = 100) -> Embeddings:
    """One image for each margin: text 0 is the best, text 1 follows by the margin, the others are far."""
    rows = np.zeros((len(margins), n_texts), np.float32)
    rows[:, 0] = 0.5
    rows[:, 1] = 0.5 - np.array(margins, np.float32)
    return rows


def with_noise(expected: Embeddings, size: float) -> Embeddings:
    """Errors of one size, up and down; texts 0 and 1 keep their places."""
    signs = np.where(np.arange(expected.shape[1]) % 2, 1, -1)
    signs[:2] = 1
    return (expected + size * signs).astype(np.float32)


def test_near_ties_are_counted_apart() -> None:
    expected = similarities([0.4, 0.001, 0.4, 0.4])
    found = with_noise(expected, 0.01)
    found[1, 1] = 0.6  # a tie that turned
    found[2, 1] = 0.7  # no tie

    assert top1_agreement(expected, found) == (pytest.approx(2 / 3), 1)


def test_where_near_ties_are_most_of_the_images_all_count() -> None:
    expected = similarities([0.001, 0.001, 0.4])
    found = with_noise(expected, 0.01)
    found[0, 1] = 0.6

    assert top1_agreement(expected, found) == (pytest.approx(2 / 3), 2)


PERFECT = parity()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_perfect_parity_passes_every_precision(precision: str) -> None:
    require_parity(PERFECT, precision)


@pytest.mark.parametrize(
    ("precision", "measure", "value"),
    [
        ("fp32", "cosine_min", 0.99998),
        ("fp16", "cosine_min", 0.9989),
        ("int8", "cosine_mean", 0.989),
        ("int8", "top1_agreement", 0.979),
        ("fp32", "batch_cosine_min", 0.99998),
        ("int8", "batch_cosine_min", 0.99985),
    ],
)
def test_each_broken_bound_is_named_with_its_value(precision: str, measure: str, value: float) -> None:
    parity = PERFECT.model_copy(update={measure: value})

    with pytest.raises(ParityFailed, match=f"{precision}.*{measure} is {value}"):
        require_parity(parity, precision)


@pytest.mark.parametrize(("measure", "value"), [("n_images", 999), ("n_texts", 99)])
def test_too_few_samples_are_no_failure_of_the_model(measure: str, value: int) -> None:
    few = PERFECT.model_copy(update={measure: value})

    with pytest.raises(TooFewSamples, match=f"fp32 has no sufficient proof: .*{value} "):
        require_parity(few, "fp32")
    with pytest.raises(ParityFailed, match=f"cosine_min is 0.9, .*; {measure} is {value}"):
        require_parity(few.model_copy(update={"cosine_min": 0.9}), "fp32")


def test_not_a_number_breaks_its_bound() -> None:
    parity = PERFECT.model_copy(update={"cosine_min": float("nan")})

    assert broken_bounds(parity, "fp32") == ["cosine_min is nan, the bound is 0.99999"]


def test_low_int8_minimum_passes_while_the_mean_is_high() -> None:
    assert broken_bounds(PERFECT.model_copy(update={"cosine_min": 0.97}), "int8") == []
