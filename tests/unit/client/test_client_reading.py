"""Results are read from JSON by the fields and type hints of their dataclasses."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from diptych_client import ClientError, Conflict, UnexpectedAnswer
from diptych_client.reading import read
from support.fake_api import base64_row


@dataclass(frozen=True)
class Tag:
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Picture:
    id: str
    n_bytes: int
    note: str | None
    tags: tuple[Tag, ...] = ()
    kept: bool = True
    links: Mapping[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    state: Literal["new", "old"] = "new"
    value: str | int | float | bool | None = None
    vector: "array" = field(default_factory=lambda: array("f"))  # type: ignore[type-arg]
    error: ClientError | None = None
    device: str = field(default="cpu", metadata={"keys": ("index", "device")})


LEAST = {"id": "tom", "n_bytes": 3}
TOM = Picture("tom", 3, None)


def picture(**values: Any) -> Picture:
    return read(Picture, LEAST | values, "GET /pictures")


def test_missing_keys_and_null_leave_the_defaults_and_optional_fields_none() -> None:
    assert picture() == TOM
    assert picture(note=None, tags=None, kept=None, links=None, state=None, index=None) == TOM


def test_keys_of_a_newer_server_are_ignored() -> None:
    assert picture(mood="good", tags=[{"name": "cat", "colour": "red"}]).tags == (Tag("cat"),)


def test_nested_values_become_their_types() -> None:
    found = picture(
        note="a cat",
        tags=[{"name": "cat"}, {"name": "pet", "weight": 0.5}],
        links={"self": "/tom"},
        metadata={"a": [None, {"b": 1}]},
        vector=base64_row(1, 2),
        index={"device": "cuda"},
    )
    assert (found.note, found.tags) == ("a cat", (Tag("cat"), Tag("pet", 0.5)))
    assert (found.links, found.metadata) == ({"self": "/tom"}, {"a": [None, {"b": 1}]})
    assert (found.vector, found.device) == (array("f", [1, 2]), "cuda")


def test_problem_becomes_the_exception_of_its_status() -> None:
    error = picture(
        error={"status": 409, "title": "Conflict", "detail": "id: it is taken", "item": "id"}
    ).error
    assert isinstance(error, Conflict)
    assert str(error) == "id: it is taken (HTTP 409)"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({}, "has no 'pictures'"),
        ({"pictures": [LEAST, {"id": "tom"}]}, r"has no 'pictures\[1\]\.n_bytes'"),
        ({"pictures": [LEAST | {"error": {}}]}, r"has no 'pictures\[0\]\.error\.status'"),
    ],
)
def test_missing_field_is_named(answer: object, complaint: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=f"^the answer to GET /pictures {complaint}$"):
        read(list[Picture], answer, "GET /pictures", "pictures")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"id": 7}, "'id' is an integer, must be a string"),
        ({"n_bytes": "secret"}, "'n_bytes' is a string, must be an integer"),
        ({"n_bytes": True}, "'n_bytes' is a boolean, must be an integer"),
        ({"kept": 1}, "'kept' is an integer, must be a boolean"),
        ({"tags": {}}, "'tags' is an object, must be an array"),
        ({"links": {"self": 1}}, r"'links\.self' is an integer, must be a string"),
        ({"state": 1}, "'state' is an integer, must be a string"),
        ({"vector": "secret!"}, "'vector' is no base64 of float32"),
    ],
)
def test_field_of_another_type_is_named_without_its_value(values: dict[str, Any], complaint: str) -> None:
    said = f"^the answer to GET /pictures has another shape than expected: {complaint}$"
    with pytest.raises(UnexpectedAnswer, match=said):
        picture(**values)
