"""Zero-shot classification by class names, with encoders written by hand."""

from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.encoder import Embeddings, InputIds
from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.evaluate.zero_shot import class_embeddings, zero_shot_top_k
from support.tiny_tokenizer import write_tiny_tokenizer


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


def test_braces_in_a_class_name_are_text(tokenizer: TextTokenizer) -> None:
    rows = class_embeddings(LengthEncoder(), tokenizer, ["{red}", "{0}"], ["a {}"])

    assert rows.shape == (2, 2)


def test_an_image_is_right_if_any_of_its_labels_is_among_the_first_k() -> None:
    classifier = np.eye(3, dtype=np.float32)
    images = np.array([[0.9, 0.4, 0.1], [0.9, 0.4, 0.1]], dtype=np.float32)
    accepted = [frozenset({"b", "a"}), frozenset({"b"})]

    assert zero_shot_top_k(images, classifier, accepted, ["a", "b", "c"], [1, 2]) == {1: 0.5, 2: 1.0}
