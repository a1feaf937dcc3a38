"""Repairs equal ftfy's within the limits, and do bounded work (counted, not timed) beyond them."""

import html
import sys
import unicodedata
from itertools import groupby

import ftfy
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from diptych.bundle.text import clean as module
from diptych.bundle.text.clean import MAX_CHARS, MAX_MARKS, MAX_PASSES, repair

N_ROUNDS_IN_ALL = MAX_PASSES * (MAX_CHARS // module.LINE_CHARS + 1)
MARKS = "\u0301\u0323\u0302\u0327\u0345\u0f73"


def reference(text: str) -> str:
    """Clean a text as CLIP does, before spaces are collapsed."""
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def has_few_marks(text: str) -> bool:
    """Whether no character has more marks than the bound. U+0F73 counts as two, also after normalisation."""
    is_mark = [unicodedata.combining(one) != 0 for one in unicodedata.normalize("NFD", text)]
    return max((len(list(run)) for mark, run in groupby(is_mark) if mark), default=0) <= MAX_MARKS


def ordinary_texts(max_size: int) -> st.SearchStrategy[str]:
    """Generate web text: scripts, accents, escapes up to three deep, broken encodings, line ends, markup."""
    pieces = st.one_of(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
        st.text(MARKS, max_size=30),
        st.sampled_from(["\n", "\r\n", "\r", "\t", "\u2028", "\x85", "\xa0", "<", "<b>", "&", "œ\n", "Ã \n"]),
        st.sampled_from(
            ["&amp;", "&amp;amp;amp;", "&amp;eacute;", "&EACUTE;", "&#233;", "&#xe9", "&lt", "&#1"]
        ),
        st.sampled_from(
            ["â€™", "Ã©", "ÃƒÂ©", "Ð¿Ñ€Ð¸", "\x81", "Â ", "\x1b[1m", "\x01", "ﬁ", "Ａ", "“", "’"]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    )
    return st.lists(pieces, max_size=max_size).map("".join)


@settings(deadline=None, max_examples=600)
@given(text=ordinary_texts(12))
@example(text="plain\n<b>\n&amp;eacute;")
@example(text="&amp;eacute;\n<b>")
@example(text="œ\nœ")
@example(text="\x85\r\n\xa0\r\n")
def test_ordinary_text_is_repaired_as_ftfy_does(text: str) -> None:
    assume(has_few_marks(reference(text)))
    assert repair(text).split() == reference(text).split()  # all white space becomes one space


@settings(deadline=None, max_examples=30)
@given(text=ordinary_texts(12), n=st.integers(2, 60))
def test_long_text_is_repaired_as_ftfy_does(text: str, n: int) -> None:
    long = (text * n)[: MAX_CHARS - 60 * module.LINE_CHARS]
    if long.count("\n") < 60 and has_few_marks(reference(long)):
        assert repair(long).split() == reference(long).split()


def test_thirty_marks_on_a_letter_stay_and_thousands_do_not() -> None:
    for n in (30, MAX_MARKS):
        assert repair("q" + "\u0323" * n + " b") == reference("q" + "\u0323" * n + " b")
    assert repair("q" + "\u0323" * 5_000 + " b") == "q" + "\u0323" * MAX_MARKS + " b"
    assert repair("é" + "\U0001f600" * 5_000) == "é" + "\U0001f600" * 5_000, "emoji are no marks"


def test_marks_that_only_come_out_of_escapes_and_broken_encodings_are_bounded_too() -> None:
    for text in ("&#769;&#803;" * 600, ("\u0301\u0323" * 1_500).encode().decode("latin-1")):
        assert len(repair("a" + text)) <= MAX_MARKS + 1


def test_every_mark_that_normalisation_sorts_is_found() -> None:
    marks = [one for one in map(chr, range(0x80, sys.maxunicode + 1)) if unicodedata.combining(one)]
    marks.append("\u0f73")  # of class 0, but made of marks
    assert len(marks) > 800
    assert [mark for mark in marks if len(repair("q" + mark * 1_000)) > 2 * MAX_MARKS] == []


@pytest.mark.parametrize(
    "text",
    [
        "&" + "amp;" * 2_000 + "é",
        "&" + "&#97;mp;" * 1_200 + "é",
        "&" + "\x01amp;" * 1_900 + "é",
        "é\n" * 50_000,
        "\x01\r\n" * 50_000,
        "é" * 1_000_000,
        "Ã© 中 " * 200_000,
    ],
)
def test_work_is_bounded_whatever_the_text(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    read: list[int] = []

    def fix_encoding(text: str) -> str:
        read.append(len(text))
        return text

    monkeypatch.setattr(module.ftfy, "fix_encoding", fix_encoding)
    repair(text)
    assert 0 < len(read) <= N_ROUNDS_IN_ALL
    assert sum(read) <= MAX_PASSES * MAX_CHARS


def test_lines_with_nothing_to_mend_cost_nothing_and_are_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.ftfy, "fix_encoding", None)
    text = "a plain line\r\n" * 5_000 + "\tthe last"
    assert repair(text) == text


def test_nothing_follows_what_was_cut() -> None:
    repaired = repair("é" * (MAX_CHARS + 5) + "\nplain\né\n")
    assert repaired == "é" * MAX_CHARS
