import json

import pytest

from diptych.core.weighed_cache import WeighedCache
from diptych.errors import InvalidValue, Malformed
from diptych.http import form
from diptych.http.form import MAX_KEPT_BYTES, Form
from diptych.http.multipart import Part


def labels_of(payload: bytes) -> list[str] | None:
    return Form([Part("labels", bytes(payload))], ("labels",)).strings("labels")


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


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> WeighedCache[str, tuple[str, ...]]:
    """None yet."""
    cache: WeighedCache[str, tuple[str, ...]] = WeighedCache(MAX_KEPT_BYTES)
    monkeypatch.setattr(form, "_KEPT", cache)
    return cache


@pytest.mark.parametrize("n_chars", [10, 100])
def test_lists_of_as_many_labels_as_there_may_be_are_kept(
    n_chars: int, kept: WeighedCache[str, tuple[str, ...]]
) -> None:
    labels_of(json.dumps([f"{n:0{n_chars}d}" for n in range(10_000)]).encode())
    assert len(kept) == 1


def test_lists_are_kept_up_to_so_many_bytes_of_them_and_of_their_labels(
    kept: WeighedCache[str, tuple[str, ...]],
) -> None:
    labels_of(json.dumps(["x" * (MAX_KEPT_BYTES // 2)]).encode())
    assert len(kept) == 0
    labels_of(json.dumps([f"{n}" for n in range(MAX_KEPT_BYTES // 50)]).encode())
    assert len(kept) == 0, "short strings take more memory than they have characters"
    for n in range(50):
        labels_of(json.dumps([f"{n} {'x' * 100_000}"]).encode())
    assert 0 < len(kept) <= MAX_KEPT_BYTES // 200_000


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
