"""Right labels and ranks, the basis of every accuracy and recall."""

from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.encoder import Embeddings, InputIds
from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.evaluate.ranking import (
    accepted_labels,
    best_ranks,
    hit_rates,
    image_to_text_recall,
    text_to_image_recall,
)
from diptych_training.evaluate.zero_shot import class_embeddings, zero_shot_top_k
from support.tiny_tokenizer import write_tiny_tokenizer


def test_rank_counts_the_wrong_candidates_before_the_best_right_one() -> None:
    similarity = np.array([[0.9, 0.5, 0.1], [0.1, 0.9, 0.5]], dtype=np.float32)
    relevant = np.array([[False, True, True], [False, True, True]])

    assert best_ranks(similarity, relevant).tolist() == [1, 0]


def test_a_model_that_answers_the_same_everywhere_ranks_last() -> None:
    similarity = np.ones((2, 5), dtype=np.float32)
    relevant = np.zeros((2, 5), dtype=bool)
    relevant[:, 0] = True

    assert best_ranks(similarity, relevant).tolist() == [4, 4]


def test_hit_rates_count_ranks_below_each_k() -> None:
    assert hit_rates(np.array([0, 1, 4, 9]), [1, 5, 10]) == {1: 0.25, 5: 0.75, 10: 1.0}


def test_identical_images_accept_each_others_labels() -> None:
    norway, sweden = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)

    accepted = accepted_labels([norway, sweden, norway], ["Norway", "Sweden", "Svalbard"])

    assert accepted == [{"Norway", "Svalbard"}, {"Sweden"}, {"Norway", "Svalbard"}]


TEXTS = ["sun", "moon"]
TEXT_ROWS = np.eye(2, dtype=np.float32)


def test_both_directions_are_counted_by_their_own_queries() -> None:
    images = np.array([[1.0, 0.1], [0.9, 0.2], [0.8, 0.3]], dtype=np.float32)
    accepted = [frozenset({"sun"}), frozenset({"sun"}), frozenset({"moon"})]

    # Each text finds its own image first; the third image is nearer to the wrong text.
    assert text_to_image_recall(images, TEXT_ROWS, accepted, TEXTS, [1]) == {1: 1.0}
    assert image_to_text_recall(images, TEXT_ROWS, accepted, TEXTS, [1, 2]) == {1: 2 / 3, 2: 1.0}


class LengthEncoder:
    """Puts a text on the unit circle at an angle of its number of tokens."""

    def encode_text(self, input_ids: InputIds) -> Embeddings:
        angle = 0.3 * (input_ids != 0).sum(axis=1)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    write_tiny_tokenizer(tmp_path / "tokenizer.json")
    spec = TextSpec(context_length=24, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]})
    return TextTokenizer(tmp_path / "tokenizer.json", spec)


def test_class_embedding_is_the_normalised_mean_over_templates(tokenizer: TextTokenizer) -> None:
    encoder = LengthEncoder()
    parts = [encoder.encode_text(tokenizer([text]).input_ids)[0] for text in ("red", "a red")]
    mean = (parts[0] + parts[1]) / 2

    (row,) = class_embeddings(encoder, tokenizer, ["red"], ["{}", "a {}"])

    assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_an_image_is_right_if_any_of_its_labels_is_among_the_first_k() -> None:
    classifier = np.eye(3, dtype=np.float32)
    images = np.array([[0.9, 0.4, 0.1], [0.9, 0.4, 0.1]], dtype=np.float32)
    accepted = [frozenset({"b", "a"}), frozenset({"b"})]

    assert zero_shot_top_k(images, classifier, accepted, ["a", "b", "c"], [1, 2]) == {1: 0.5, 2: 1.0}
