"""The tokenizer that a run learns, read back as the server reads it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text import TextTokenizer
from diptych_training.errors import TrainingConfigError
from diptych_training.tokenizer import train_tokenizer, write_tokenizer

TEXTS = ["grinning face", "face with tears of joy", "smiling face", "arrow left", "arrow right"] * 20
SPEC = TextSpec(context_length=8, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(train_tokenizer(TEXTS, 560), path)
    return TextTokenizer(path, SPEC)


def test_common_words_are_single_tokens_between_start_and_end(tokenizer):
    ids, truncated = tokenizer.ids("Grinning  FACE")
    assert len(ids) == 4
    assert not truncated


def test_end_of_text_has_the_largest_id_wherever_the_text_ends(tokenizer):
    tokens = tokenizer(["face", "a long text that does not fit into eight tokens", "", "<|endoftext|> face"])
    end = tokens.input_ids.max()
    assert (tokens.input_ids == end).sum(axis=1).tolist() == [1, 1, 1, 1]
    assert tokens.truncated == (False, True, False, True)


def test_it_learns_texts_as_the_recipe_cleans_them():
    kept, lowered = (train_tokenizer(["SUN SUN SUN"], 560, mode) for mode in ("none", "clip"))
    assert "SUN</w>" in kept.get_vocab()
    assert "SUN</w>" not in lowered.get_vocab()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_text_has_ids(tokenizer, text):
    ids, _ = tokenizer.ids(text)
    assert 2 <= len(ids) <= SPEC.context_length


def test_training_twice_gives_the_same_file():
    assert train_tokenizer(TEXTS, 560).to_str() == train_tokenizer(TEXTS, 560).to_str()


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(TrainingConfigError, match="at least 514"):
        train_tokenizer(TEXTS, 513)
