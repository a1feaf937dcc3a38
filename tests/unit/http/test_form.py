import json

import pytest

from diptych.errors import InvalidValue, Malformed
from diptych.http import form
from diptych.http.form import MAX_KEPT_CHARS, Form
from diptych.http.multipart import Part


def labels_of(payload: bytes) -> list[str] | None:
    return Form([Part("labels", bytearray(payload))], ("labels",)).strings("labels")


@pytest.mark.parametrize("n_labels", [1, 3, 20_000])
def test_list_that_comes_again_is_the_same_however_it_was_changed_in_between(n_labels: int) -> None:
    labels = [f"a {n}" for n in range(n_labels)]
    payload = json.dumps(labels).encode()
    first = labels_of(payload)
    assert first == labels
    first.append("spoilt")
    assert labels_of(payload) == labels


def test_list_that_comes_again_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = b'["known once", "known twice"]'
    labels_of(payload)
    monkeypatch.setattr(form, "parse_json", None)
    assert labels_of(payload) == ["known once", "known twice"]


def test_long_lists_are_not_kept() -> None:
    form._kept_strings.cache_clear()
    labels_of(json.dumps(["x" * MAX_KEPT_CHARS]).encode())
    assert form._kept_strings.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("payload", "error", "item"),
    [
        (b'["a", 3]', InvalidValue, "labels[1]"),
        (b'["a"', Malformed, "labels"),
        (b'["\xff"]', Malformed, "labels[0]"),
    ],
)
def test_list_that_is_wrong_is_refused_each_time(payload: bytes, error: type[Exception], item: str) -> None:
    for _ in range(2):
        with pytest.raises(error) as caught:
            labels_of(payload)
        assert caught.value.item == item  # type: ignore[attr-defined]
