"""Which captions are one label."""

import pytest

from diptych_training.data.label_key import label_key


@pytest.mark.parametrize(
    "caption", ["A gate valve", "the gate  valve.", "Gate-Valve", "“gate valve”", "gate\tvalve!"]
)
def test_articles_case_and_punctuation_do_not_make_another_label(caption):
    assert label_key(caption) == label_key("gate valve")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("vitamin A", "vitamin"), ("C++", "C"), ("keycap: #", "keycap: *"), ("-5 °C", "5 °C"),
        ("1.5 mm", "15 mm"), ("gate valve", "gate valves"), ("?", "!"), ("the", "a"),
    ],
)  # fmt: skip
def test_what_tells_things_apart_stays(one, other):
    assert label_key(one) != label_key(other)
