"""Cleaning and tokenising equal open_clip's."""

import gzip
import random
import unicodedata

import open_clip
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import bytes_to_unicode, default_bpe, get_clean_fn
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from diptych.bundle.text.tokenizer import TextTokenizer, clean
from support.bundle_examples import text_spec

SPLIT = r"<start_of_text>|<end_of_text>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
AWKWARD = [
    "a photo of a cat",
    "",
    " ",
    "  A  Photo\tof\na CAT  ",
    "isn't it? I'LL say they've DON'T",
    "fish &amp; chips",
    "fish &amp;amp; chips &lt;b&gt; &#233; &nbsp; &notanentity; &",
    "caf\u00e9 cafe\u0301 na\u00efve",
    "\u201ccurly\u201d \u2018quotes\u2019 \u2026 \u2013",
    "schÃ¶n â€œmojibakeâ€\x9d",
    "\ufb01ne \ufb02ag",
    "\uff21\uff22\uff23 \uff76\uff9e",
    "zero\u200bwidth\ufeff \u00ad soft",
    "control\x00\x01\x1b[31mred\x1b[0m",
    "line\u2028separator\u0085next\x0cpage",
    "ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ",
    "it'\u017f",
    "İstanbul ŞİŞ ẞ",
    "猫の写真 一只猫 고양이 \u1112\u1161\u11ab",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽",
    "12345 3.14 ½ ² Ⅷ",
    "snake_case_and-hyphen/slash\\backslash",
    "{} {curly} [square] <angle>",
    "<|startoftext|> a <|endoftext|> b",
    "!!! ... ???",
    "مرحبا שלום",
    "x" * 300,
    "word " * 300,
]


def assigned_text():
    """No unassigned code points (Unicode versions disagree on them), nor U+0345 (it folds unlike others).

    Cleaning makes characters of entities and of misread UTF-8, so that the cleaned text has none either.
    """
    characters = st.characters(exclude_categories=("Cs", "Cn"), exclude_characters="\u0345")
    pieces = st.one_of(
        st.text(characters, max_size=20),
        st.sampled_from(
            ["&amp;", "&amp;lt;", "&#38;", "â€™", "Ã©", "'s", "'LL", "\t", "  ", "Σ", "ς", "\x1b[1m", "_"]
        ),
        st.text(st.characters(max_codepoint=0x7F), max_size=20),
    )
    return st.lists(pieces, max_size=6).map("".join).filter(lambda text: _is_assigned(clean(text, "clip")))


def _is_assigned(text):
    return all(unicodedata.category(character) != "Cn" for character in text)


@pytest.mark.parametrize(
    ("mode", "reference"), [("clip", "lower"), ("clip_cased", "whitespace"), ("canonical", "canonicalize")]
)
@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_is_cleaned_as_the_reference_does(mode, reference, text):
    assert clean(text, mode) == get_clean_fn(reference)(text)


@settings(deadline=None, max_examples=400)
@given(text=assigned_text())
def test_any_text_is_cleaned_as_the_reference_does(text):
    assert clean(text, "clip") == get_clean_fn("lower")(text)
    assert clean(text, "clip_cased") == get_clean_fn("whitespace")(text)
    assert clean(text, "canonical") == get_clean_fn("canonicalize")(text)


@settings(max_examples=200)
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_the_short_cut_for_plain_text_changes_nothing(text):
    assert clean(text, "clip") == get_clean_fn("lower")(text)


def clip_tokenizer():
    """CLIP's vocabulary and merges as a tokenizer file, without any text normalisation of its own."""
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as lines:
        merges = [tuple(line.split()) for line in lines.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: id for id, token in enumerate(tokens)},
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token="<|endoftext|>",
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 49406), ("<|endoftext|>", 49407)],
    )
    return tokenizer


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "tokenizer.json"
    clip_tokenizer().save(str(path))
    return TextTokenizer(path, text_spec(context_length=77, pad_to="context_length", pad_id=0))


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_is_tokenised_as_the_reference_does(ours, text):
    assert ours([text]).input_ids.tolist() == open_clip.tokenize([text]).tolist()


@settings(deadline=None, max_examples=400)
@given(text=assigned_text())
@example(text="word " * 300)
def test_any_text_is_tokenised_as_the_reference_does(ours, text):
    assert ours([text]).input_ids.tolist() == open_clip.tokenize([text]).tolist()


def test_random_words_of_every_script_are_tokenised_as_the_reference_does(ours):
    rng = random.Random(0)
    letters = [
        chr(code) for code in range(0x20, 0x20000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")
    ]
    letters.remove("\u0345")
    texts = ["".join(rng.choices(letters, k=rng.randint(1, 12))) for _ in range(2000)]
    assert ours(texts).input_ids.tolist() == open_clip.tokenize(texts).tolist()


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(assigned_text(), min_size=1, max_size=5), n=st.integers(100, 600))
@example(texts=["a caf\u00e9 \u201copens\u201d at nine."], n=290)
@example(texts=["schÃ¶n â€œmojibakeâ€\x9d", "猫の写真"], n=250)
@example(texts=["a line\n"], n=1_000)
@example(texts=["-", "="], n=4_000)
def test_long_text_is_tokenised_as_the_reference_does(ours, texts, n):
    text = " ".join(texts * n)[:8_000]
    assert ours([text]).input_ids.tolist() == open_clip.tokenize([text]).tolist()


def test_truncation_is_reported_and_keeps_end_of_text(ours):
    tokens = ours(["word " * 75, "word " * 76])
    assert tokens.truncated == (False, True)
    assert tokens.input_ids[:, -1].tolist() == [49407, 49407]


@pytest.mark.parametrize("literal", ["<|endoftext|>", "<|startoftext|>", "<end_of_text>", "<start_of_text>"])
def test_special_literals_place_no_special_token(ours, literal):
    ids, _ = ours.ids(f"a {literal} b {literal}")
    assert (ids[0], ids[-1]) == (49406, 49407)
    assert ids[1:-1].max() < 49406
