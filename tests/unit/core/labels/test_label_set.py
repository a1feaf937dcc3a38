"""What a definition of labels must be like."""

import pytest

from diptych.core.labels.label_set import Definition, Label
from diptych.errors import InvalidValue


@pytest.mark.parametrize(
    ("labels", "item", "said"),
    [
        ([Label("cat"), Label("cat")], "labels[1]", r"'cat' is the same as labels\[0\]"),
        ([Label("Cat"), Label("dog"), Label("cat")], "labels[2]", r"'cat' is hardly .* 'Cat' of labels\[0\]"),
        ([Label("cat "), Label("cat")], "labels[1]", r"'cat' is hardly .* 'cat ' of labels\[0\]"),
        ([Label("caf\u00e9"), Label("cafe\u0301")], "labels[1]", r"of labels\[0\]"),
        ([Label("Stra\u00dfe"), Label("STRASSE")], "labels[1]", r"of labels\[0\]"),
        (
            [Label("cat", ("dog",)), Label("Dog")],
            "labels[0].words[0]",
            r"'dog' is hardly .* 'Dog' of labels\[1\]",
        ),
        (
            [Label("a", ("x",)), Label("b", ("y", "x"))],
            "labels[1].words[1]",
            r"same as labels\[0\]\.words\[0\]",
        ),
        ([Label("a", ("x", "X"))], "labels[0].words[1]", r"'X' is hardly .* 'x' of labels\[0\]\.words\[0\]"),
        ([Label("a", ("a",))], "labels[0].words[0]", r"'a' is the same as labels\[0\]"),
        ([Label("a\nb")], "labels[0]", r"'a\\nb' has the control character '\\n'"),
        ([Label("a\u2028b")], "labels[0]", r"control character"),
        ([Label("a", ("b\0",))], "labels[0].words[0]", r"control character '\\x00'"),
    ],
)
def test_label_or_word_that_is_unusable_or_like_another_is_named(
    labels: list[Label], item: str, said: str
) -> None:
    with pytest.raises(InvalidValue, match=said) as refused:
        Definition(tuple(labels)).check()
    assert refused.value.item == item


def test_labels_and_words_of_any_script_are_usable() -> None:
    Definition(
        (Label("\u732b", ("caf\u00e9 au lait",)), Label("cafe"), Label("\U0001f408\u200d\u2b1b"))
    ).check()
