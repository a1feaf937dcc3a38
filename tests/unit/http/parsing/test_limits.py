from dataclasses import replace

import pytest

from diptych.core.limits import Limits
from diptych.errors import TooLarge
from diptych.http.parsing import limits
from diptych.http.parsing.limits import check_texts

LIMITS = replace(Limits(), max_text_chars=3)


def test_first_text_over_the_limit_is_named_by_its_index() -> None:
    with pytest.raises(TooLarge, match="text has 5 characters, limit is 3") as caught:
        check_texts(["abc", "abcde", "abcdef"], "labels", LIMITS)
    assert caught.value.item == "labels[1]"


def test_texts_within_the_limit_are_not_checked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "check_text", None)
    check_texts(["abc", ""], "labels", LIMITS)
    check_texts([], "labels", LIMITS)
