"""The tokenizer that a run learns, read back as the server reads it."""

import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.errors import TrainingConfigError
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer

TEXTS = ["grinning face", "face with tears of joy", "smiling face", "arrow left", "arrow right"] * 20
SPEC = TextSpec(context_length=8, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(train_tokenizer(TEXTS, 560), path)
    return TextTokenizer(path, SPEC)


def test_end_of_text_has_the_largest_id_wherever_the_text_ends(tokenizer):
    tokens = tokenizer(["face", "a long text that does not fit into eight tokens", "", "<|endoftext|> face"])
    end = tokens.input_ids.max()
    assert (tokens.input_ids == end).sum(axis=1).tolist() == [1, 1, 1, 1]
    assert tokens.truncated == (False, True, False, True)


def test_a_signal_interrupts_training_while_it_waits_for_a_text():
    def slow() -> Iterator[str]:
        yield "a text"
        signal.raise_signal(signal.SIGINT)
        time.sleep(5)
        yield "another"

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(slow(), 560)
    assert time.monotonic() - began < 4  # before the next text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_text_has_ids(tokenizer, text):
    ids, _ = tokenizer.ids(text)
    assert 2 <= len(ids) <= SPEC.context_length


def test_training_is_deterministic_even_with_equally_frequent_pairs():
    names = emoji_classes()
    assert len({train_tokenizer(names, 2000).to_str() for _ in range(4)}) == 1


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(TrainingConfigError, match="at least 514"):
        train_tokenizer(TEXTS, 513)
