"""Recall@k in both directions on embeddings written by hand."""

import numpy as np

from diptych_training.evaluate.ranking import image_to_text_recall, text_to_image_recall

TEXTS = ["sun", "moon"]
TEXT_ROWS = np.eye(2, dtype=np.float32)


def test_both_directions_are_counted_by_their_own_queries() -> None:
    images = np.array([[1.0, 0.1], [0.9, 0.2], [0.8, 0.3]], dtype=np.float32)
    accepted = [frozenset({"sun"}), frozenset({"sun"}), frozenset({"moon"})]

    # Each text finds its own image first; the third image is nearer to the wrong text.
    assert text_to_image_recall(images, TEXT_ROWS, accepted, TEXTS, [1]) == {1: 1.0}
    assert image_to_text_recall(images, TEXT_ROWS, accepted, TEXTS, [1, 2]) == {1: 2 / 3, 2: 1.0}


def test_a_text_without_images_is_not_a_query() -> None:
    images = np.array([[1.0, 0.0]], dtype=np.float32)

    assert text_to_image_recall(images, TEXT_ROWS, [frozenset({"sun"})], TEXTS, [1]) == {1: 1.0}


def test_any_image_of_a_text_counts() -> None:
    images = np.array([[0.2, 1.0], [1.0, 0.2]], dtype=np.float32)
    accepted = [frozenset({"sun"}), frozenset({"sun"})]

    assert text_to_image_recall(images, TEXT_ROWS, accepted, TEXTS, [1]) == {1: 1.0}
