"""Hostile texts give token ids, or InvalidValue for lone surrogates."""

import time

import numpy as np
import pytest

from diptych.bundle.manifest import read_manifest
from diptych.bundle.text.tokenizer import Clean, TextTokenizer, clean
from diptych.errors import InvalidValue
from support.default_model import default_bundle
from support.hostile.texts import random_text, strange_texts

BUNDLE = default_bundle()
MODES: tuple[Clean, ...] = ("none", "clip", "clip_cased", "canonical")
FAR_TOO_LONG_S = 2  # 10,000 characters take 0.04 s at most; unbounded, some took 5 s


@pytest.fixture(scope="module", params=MODES)
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    spec = read_manifest(BUNDLE).text
    return TextTokenizer(BUNDLE / "tokenizer.json", spec.model_copy(update={"clean": request.param}))


def check(tokenizer: TextTokenizer, text: str, name: object) -> bool:
    """Check that a valid Unicode text has ids; return whether this one did."""
    began = time.monotonic()
    try:
        ids, _ = tokenizer.ids(text)
    except InvalidValue as error:
        assert any(0xD800 <= ord(character) <= 0xDFFF for character in text), name
        assert "lone surrogate" in error.message
        return False
    assert time.monotonic() - began < FAR_TOO_LONG_S, name
    assert ids.dtype == np.int32
    assert 2 <= len(ids) <= 24, name
    return True


@pytest.mark.parametrize("name", strange_texts())
def test_strange_text_has_ids(tokenizer: TextTokenizer, name: str) -> None:
    assert check(tokenizer, strange_texts()[name], name)


@pytest.mark.parametrize(
    "n", [300, pytest.param(34_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_random_texts_have_ids_or_are_no_unicode(tokenizer: TextTokenizer, n: int) -> None:
    n_good = sum(check(tokenizer, random_text(seed), seed) for seed in range(n))
    print(f"{n_good:,} of {n:,} texts had ids")
    assert n * 0.5 < n_good < n


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&#" + "0" * 5_000 + "65;", "a"),
        ("&#" + "0" * 5_000 + ";", "\ufffd"),
        ("&#" + "9" * 5_000 + "; b", "\ufffd b"),
        ("x &amp;#" + "9" * 5_000 + "y", "x \ufffdy"),
        ("&#x" + "f" * 5_000 + ";", "\ufffd"),
        ("&" + "amp;" * 64 + " b", "& b"),
        ("&" + "amp;" * 5_000 + " b", "& b"),
        ("&" + "amp;#38;AMP;#x26;#X026;#038;" * 500 + "lt;", "<"),
        ("<&amp;amp;amp;amp;", "<&amp;amp;"),
    ],
)
def test_escapes_of_any_length_are_undone(text: str, expected: str) -> None:
    assert clean(text, "clip") == expected
