import pytest

from diptych.errors import InvalidValue, Malformed
from diptych.http.parsing.form import Form
from diptych.http.parsing.multipart import Part


@pytest.mark.parametrize(
    ("payload", "error", "item"),
    [
        (b'["a", 3]', InvalidValue, "labels[1]"),
        (b'["a"', Malformed, "labels"),
        (b'["\xff"]', Malformed, "labels[0]"),
    ],
)
def test_invalid_list_field_is_rejected_and_named(payload: bytes, error: type[Exception], item: str) -> None:
    with pytest.raises(error) as caught:
        Form([Part("labels", payload)], ("labels",)).strings("labels")
    assert caught.value.item == item  # type: ignore[attr-defined]
