"""Findings about captions: too long, broken into many pieces, shared by pictures."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from diptych_training.data.packed import PackedItem
from diptych_training.errors import DataError
from diptych_training.refresh.pairs.captions import CaptionTokens, caption_findings
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


def test_without_a_shipped_set_captions_are_compared_with_plain_english():
    assert findings_on([*familiar(20), "красная собака"])["fragmented"].n == 1


def test_a_script_that_the_tokenizer_knows_by_the_letter_is_not_split_into_fragmented():
    letters = "一只狗在海滩上奔跑猫鸟树草"
    vocabulary = {
        letter: index for index, letter in enumerate(["?", *letters, *"abcdefghijklmnopqrstuvwxyz"])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="?", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    known = CaptionTokens(tokenizer, tiny_text_spec())
    items = [PackedItem(id=f"{n}", label=letters[: n + 4]) for n in range(6)]

    assert [finding.kind for finding in caption_findings(items, known, None)] == []


def test_captions_of_several_pictures_are_counted_with_the_most_frequent(shipped):
    finding = findings_on([*familiar(20), *["a cat"] * 3, "A  Cat", "a red dog", "a red dog"], shipped)[
        "shared_captions"
    ]

    assert finding.n == 2
    assert finding.what == "of 22 captions shared by several pictures"
    assert finding.examples == ('"a cat" (4 pictures)', '"a red dog" (2 pictures)')


def test_one_caption_for_all_pictures_is_an_error_that_says_so():
    with pytest.raises(DataError, match=r'all 25 usable pairs have the caption "a cat", from which a model'):
        findings_on(["a cat", "A cat"] + ["a cat"] * 23)


def test_one_label_with_different_further_captions_can_be_learned():
    items = [
        PackedItem(id=f"{n}", label="a cat", captions=(caption,)) for n, caption in enumerate(familiar(20))
    ]

    kinds = [finding.kind for finding in caption_findings(items, tokens(), None)]
    assert kinds == ["shared_captions"]


def test_a_caption_that_is_not_unicode_is_refused():
    with pytest.raises(ValueError, match="its caption is not valid Unicode"):
        tokens()("a \ud800 cat")
