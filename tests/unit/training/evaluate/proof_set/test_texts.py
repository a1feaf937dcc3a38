"""The texts that an import is proven on, and how ids are held against the library's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.bundle.encoder import Embeddings
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import ImportFailed
from diptych_training.evaluate.proof_set.photos import (
    AwkwardText,
    PhotoVariants,
    calibration_texts,
    ordinary_texts,
    photographs,
    relevance_of_texts,
)
from diptych_training.importing.text_differences import measure_differences, require_equal_ids
from support.tiny_run import tiny_text_spec
from support.tiny_tokenizer import write_tiny_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    write_tiny_tokenizer(tmp_path / "tokenizer.json")
    return TextTokenizer(tmp_path / "tokenizer.json", tiny_text_spec())


class Library:
    """Tokenises as the bundle does, but for the texts that it is told to change."""

    def __init__(self, tokenizer: TextTokenizer, changed: dict[str, list[int]]) -> None:
        self._tokenizer, self._changed = tokenizer, changed

    def input_ids(self, text: str) -> list[int]:
        return self._changed.get(text, self._tokenizer.ids(text)[0].tolist())

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        raise AssertionError("only ids are compared")

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        raise AssertionError("only ids are compared")


def test_calibration_sees_no_text_of_the_proof() -> None:
    assert not set(calibration_texts()) & set(ordinary_texts())


def test_a_caption_is_right_for_every_variant_of_its_photograph_and_for_no_other() -> None:
    listed = photographs()
    photos, texts = PhotoVariants(listed, seed=0), [listed[0].captions[0], listed[1].captions[0], "nobody's"]

    right = relevance_of_texts(photos, 2 * len(listed), texts)

    assert np.flatnonzero(right[:, 0]).tolist() == [0, len(listed)]
    assert np.flatnonzero(right[:, 1]).tolist() == [1, len(listed) + 1]
    assert not right[:, 2].any()


def test_an_ordinary_text_with_other_ids_stops_the_import(tokenizer: TextTokenizer) -> None:
    library = Library(tokenizer, {"a cat": [1, 2, 3]})

    require_equal_ids(["red", "blue"], tokenizer, library)
    with pytest.raises(ImportFailed, match=r"'a cat' becomes .*, in the library 1 2 3"):
        require_equal_ids(["red", "a cat"], tokenizer, library)


def test_differences_are_counted_shown_in_ascii_and_cut(tokenizer: TextTokenizer) -> None:
    texts = [AwkwardText("plain", "red"), AwkwardText("emoji", "🐕|" * 40), AwkwardText("empty", "")]
    library = Library(tokenizer, {"🐕|" * 40: list(range(50)), "": [9]})

    differences = measure_differences(texts, tokenizer, library)
    stated = differences.stated()

    assert (stated["n_texts"], stated["n_equal"]) == (3, 1)
    assert differences.equal == ("red",)
    first, second = stated["differing"]
    assert first["text"].startswith("\\U0001f415|")
    assert first["text"].isascii()
    assert len(first["theirs"]) < 50
    assert second["theirs"] == [9]
    assert "\\|" in differences.table()
    assert "(empty)" in differences.table()
