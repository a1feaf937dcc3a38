"""The words of captions: read from texts, and back from token ids."""

from pathlib import Path

import pytest

from diptych_training.objectives.words import Captions, most_common
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer
from support.tiny_run import tiny_text_spec


@pytest.fixture
def captions(tmp_path: Path) -> Captions:
    write_tokenizer(train_tokenizer(["a red apple", "grün"], 560), tmp_path / "tokenizer.json")
    return Captions(tmp_path / "tokenizer.json", tiny_text_spec())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red  Apple", ("a", "red", "apple")),
        ("apple, no. 12!", ("apple", "no", "1", "2")),
        ("grün_it's", ("grün", "it", "s")),
        ("?!", ()),
    ],
)
def test_words_are_runs_of_letters_and_single_digits(captions, text, words):
    assert captions.words(text) == words


@pytest.mark.parametrize("text", ["A red Apple", "red 12!", "grün", "?!", ""])
def test_the_words_of_a_caption_are_read_back_from_its_ids(captions, text):
    ids = [*captions.ids(text).tolist(), 0, 0]
    assert captions.words_of(ids) == captions.words(text)


def test_the_most_common_entries_come_first_then_the_shortest():
    assert most_common(["bb", "a", "bb", "cc", "aaa"], 4) == ("bb", "a", "cc", "aaa")
