"""Findings about captions: too long, broken into many pieces, shared by pictures."""

import pytest

from diptych_training.data.packed import PackedItem
from diptych_training.errors import DataError
from diptych_training.refresh.pairs.captions import CaptionTokens, caption_findings
from diptych_training.refresh.pairs.findings import quoted
from support.own_pairs import familiar, tiny_source_model, write_shipped
from support.pictures import noise
from support.tiny_run import tiny_text_spec


def tokens():
    return CaptionTokens(tiny_source_model().tokenizer, tiny_text_spec())


def findings_on(captions, shipped=None):
    """The findings on pairs with these captions, by kind."""
    items = [PackedItem(id=f"{number}", label=caption) for number, caption in enumerate(captions)]
    return {finding.kind: finding for finding in caption_findings(items, tokens(), shipped)}


@pytest.fixture
def shipped(tmp_path):
    return write_shipped(tmp_path / "judged", {caption: noise(n) for n, caption in enumerate(familiar(24))})


def test_familiar_captions_of_one_picture_each_have_nothing_wrong(shipped):
    assert findings_on(familiar(24), shipped) == {}


def test_captions_that_are_too_long_are_counted_and_the_longest_is_shown(shipped):
    long = ["the red dog on the grass " * 3, "a small blue bird on the green tree " * 3]

    finding = findings_on([*familiar(20), *long], shipped)["long_captions"]

    n_words = len(long[1].split())
    assert finding.n == 2
    assert finding.what == f"of 22 captions cut off: the model reads 10 tokens, the longest has {n_words}"
    assert finding.examples[0].startswith('"a small blue bird on the green tree a small')
    assert finding.advice


def test_captions_in_a_script_that_the_tokenizer_splits_into_bytes_are_fragmented(shipped):
    finding = findings_on([*familiar(20), "красная собака", "ein roter Hund"], shipped)["fragmented"]

    assert finding.n == 2
    assert finding.what.startswith("of 22 captions broken into many pieces")
    n_bytes = len("краснаясобака".encode())
    assert finding.examples[0] == (f'"красная собака" becomes {n_bytes} tokens (к р а с н а я с о б а к а)')


def test_captions_of_several_pictures_are_counted_with_the_most_frequent(shipped):
    cats = [*["a cat"] * 2, "A  Cat", "the cat."]
    finding = findings_on([*familiar(20), *cats, "a red dog", "a red dog"], shipped)["shared_captions"]

    assert finding.n == 2
    assert finding.what == "of 22 captions shared by several pictures"
    assert finding.examples == ('"a cat" (4 pictures)', '"a red dog" (2 pictures)')


def test_one_caption_for_all_pictures_is_an_error_that_says_so():
    with pytest.raises(DataError, match=r'all 25 usable pairs have the caption "a cat", from which a model'):
        findings_on(["a cat", "A cat", "Cat!"] + ["a cat"] * 22)


def test_examples_cannot_control_the_terminal():
    assert quoted("a\x1b[31m cat\u202e tac") == '"a\ufffd[31m cat\ufffd tac"'
