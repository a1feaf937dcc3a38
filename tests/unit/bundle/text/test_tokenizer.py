import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from diptych.bundle.text.tokenizer import CHARS_PER_TOKEN, TextTokenizer, clean
from diptych.errors import CorruptBundle, InvalidManifest, InvalidValue
from support.bundle_examples import END, START, save_word_tokenizer, text_spec, word_tokenizer

A, PHOTO, OF, RED, BLUE, CAT, DOG = range(4, 11)


@pytest.fixture
def make(tmp_path):
    def make(**changes):
        return TextTokenizer(save_word_tokenizer(tmp_path / "tokenizer.json"), text_spec(**changes))

    return make


def test_texts_are_padded_to_the_longest_of_the_batch(make):
    tokens = make(pad_id=9)(["a red cat", "dog"])
    assert tokens.input_ids.dtype == np.int32
    assert tokens.input_ids.tolist() == [[START, A, RED, CAT, END], [START, DOG, END, 9, 9]]
    assert tokens.truncated == (False, False)


def test_texts_are_padded_to_the_context_length_where_padding_is_attended_to(make):
    assert make(pad_to="context_length")(["dog"]).input_ids.tolist() == [[START, DOG, END, 0, 0, 0, 0, 0]]


def test_over_long_text_loses_its_end_and_keeps_end_of_text(make):
    tokens = make(context_length=5)(["a red blue cat", "a red cat"])
    assert tokens.input_ids.tolist() == [[START, A, RED, BLUE, END], [START, A, RED, CAT, END]]
    assert tokens.truncated == (True, False)


def test_one_text_alone_comes_unpadded(make):
    ids, truncated = make(pad_to="context_length").ids("A  Cat\n")
    assert (ids.tolist(), truncated) == ([START, A, CAT, END], False)


def test_empty_text_and_empty_batch(make):
    assert make()([""]).input_ids.tolist() == [[START, END]]
    assert make()([]).input_ids.shape == (0, 1)


def test_padding_and_truncation_of_the_file_do_not_matter(tmp_path):
    tokenizer = word_tokenizer()
    tokenizer.enable_padding(length=20, pad_id=7, direction="left")
    tokenizer.enable_truncation(3, direction="left")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens = TextTokenizer(tmp_path / "tokenizer.json", text_spec(context_length=5))(["a red blue cat dog"])
    assert tokens.input_ids.tolist() == [[START, A, RED, BLUE, END]]


@pytest.mark.parametrize(
    "text", ["<end> cat", "cat <end>", "<start><end>", "a <pad> cat", " <END>", "x<end>y"]
)
def test_special_literals_in_a_text_never_become_special_tokens(make, text):
    ids, _ = make(clean="none").ids(text)
    assert ids[0] == START
    assert ids[-1] == END
    assert set(ids[1:-1].tolist()).isdisjoint({0, START, END})


def test_special_literals_are_tokenised_as_text_where_the_model_can(tmp_path):
    """A byte-level BPE tokenises them byte by byte."""
    vocabulary = {letter: id for id, letter in enumerate("<>/abcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 29)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids, _ = TextTokenizer(tmp_path / "tokenizer.json", text_spec(context_length=20)).ids("<end>")
    assert ids.tolist() == [*(vocabulary[letter] for letter in "<end>"), 29]


@pytest.mark.parametrize("text", ["\ud800", "a \udfff b"])
def test_text_that_is_no_unicode_is_refused(make, text):
    with pytest.raises(InvalidValue, match="lone surrogate at character"):
        make().ids(text)


def test_context_without_room_for_a_token_is_refused(make):
    with pytest.raises(InvalidManifest, match="2 leaves no space next to 2 special tokens"):
        make(context_length=2)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", json.dumps({"model": 1}).encode()])
def test_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CorruptBundle, match=r"tokenizer.json: not a tokenizer file"):
        TextTokenizer(tmp_path / "tokenizer.json", text_spec())


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("  A  Cat\t&amp;amp; DOG ", "clip", "a cat & dog"),
        ("  A  Cat\t&amp;amp; DOG ", "clip_cased", "A Cat & DOG"),
        ("  A  Cat ", "none", "  A  Cat "),
        ("A big_Cat, isn't it?!", "canonical", "a big cat isnt it"),
        ("ΣΟΦΟΣ", "clip", "σοφος"[:-1] + "ς"),
        ("ﬁne “quotes”", "clip", 'fine "quotes"'),
        ("", "clip", ""),
    ],
)
def test_cleaning(text, mode, expected):
    assert clean(text, mode) == expected


def spelling_tokenizer(path):
    """Return a BPE that does not split words, so that a whole text is one word."""
    merges = [("a", "a"), ("aa", "aa"), ("aaaa", "aaaa"), ("b", "a"), ("a", "b"), ("aa", "b"), ("b", "b")]
    tokens = ["a", "b", " ", *dict.fromkeys("".join(pair) for pair in merges), "<end>"]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", vocabulary["<end>"])]
    )
    tokenizer.save(str(path))
    return Tokenizer.from_file(str(path))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.text("ab ", min_size=1, max_size=9), min_size=1, max_size=8), n=st.integers(1, 500))
@example(text=["a"], n=5_000)
@example(text=["ab" * 8, "a" * 9], n=200)
def test_long_text_has_the_ids_that_it_has_as_a_whole(tmp_path, text, n):
    whole = spelling_tokenizer(tmp_path / "tokenizer.json")
    ours = TextTokenizer(tmp_path / "tokenizer.json", text_spec(context_length=12, clean="none"))
    ids, truncated = ours.ids("".join(text) * n)
    expected = whole.encode("".join(text) * n).ids
    assert ids.tolist() == (expected if len(expected) <= 12 else [*expected[:11], expected[-1]])
    assert truncated == (len(expected) > 12)


def test_of_a_long_text_only_what_can_matter_is_tokenised(make, monkeypatch):
    read = []

    def spied(content):
        tokenizer = Tokenizer.from_str(content)
        encode = tokenizer.encode
        tokenizer.encode = lambda text: read.append(len(text)) or encode(text)
        return tokenizer

    monkeypatch.setattr("diptych.bundle.text.tokenizer.Tokenizer", SimpleNamespace(from_str=spied))
    tokenizer = make()
    read.clear()
    assert tokenizer.ids("red cat " * 10_000)[1]
    assert read == [CHARS_PER_TOKEN * 8]
