"""Names in metadata that diptych writes itself, and when the metadata of a stored image differs."""

from typing import Any

import pytest

from diptych.core.collections.metadata.reserved import (
    check_given,
    check_reserved,
    file_metadata,
    file_path,
    lacks_given,
    patched,
    reserved_name,
    same_metadata,
)
from diptych.errors import InvalidValue

FILE = {"name": "cat.png", "folder": "2026/rome", "modified": "2026-03-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("cat.png", {"name": "cat.png", "folder": "."}),
        ("2026/rome/cat.png", {"name": "cat.png", "folder": "2026/rome"}),
        ("./deep/cat.png", {"name": "cat.png", "folder": "deep"}),
    ],
)
def test_file_has_its_name_its_folder_and_its_time_in_utc(path: str, place: dict[str, str]) -> None:
    assert file_metadata(path) == place
    assert file_metadata(path, 1_772_366_400.9) == place | {"modified": "2026-03-01T12:00:00Z"}
    assert file_path({"file": file_metadata(path)}) == path.removeprefix("./")


def test_time_beyond_the_calendar_is_left_out() -> None:
    assert file_metadata("cat.png", 1e300) == {"name": "cat.png", "folder": "."}


def test_path_is_known_in_the_form_of_earlier_releases_too() -> None:
    assert file_path({"file": "deep/cat.png"}) == "deep/cat.png"
    assert [file_path({}), file_path({"file": 7}), file_path({"file": {}})] == [None, None, None]


@pytest.mark.parametrize(
    "metadata", [{}, {"file": FILE}, {"file": "cat.png"}, {"exif": {"iso": 100}}, {"filed": 1}]
)
def test_what_diptych_writes_may_be_sent(metadata: dict[str, Any]) -> None:
    check_reserved(metadata)


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        (
            {"file": 7},
            "'file' is a reserved name: its value must be an object of the texts name, folder, modified",
        ),
        ({"file": {"size": "7"}}, "'file' is a reserved name"),
        ({"file": {"name": 7}}, "'file' is a reserved name"),
        ({"file": None}, "'file' is a reserved name"),
        ({"exif": "none"}, "'exif' is a reserved name: its value must be an object, not a string"),
        ({"file.name": "cat.png"}, "metadata has 'file.name': names that begin so are reserved"),
        ({"exif.iso": 100}, "metadata has 'exif.iso': names that begin so are reserved"),
    ],
)
def test_other_values_of_reserved_names_are_refused(metadata: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        check_reserved(metadata)
    assert reserved_name({"year": 2001, **metadata}) == next(iter(metadata))


SIDECAR = {"caption": "c" * 4_000, "title": "t" * 4_000, "keywords": ["k" * 200] * 100, "rating": 5}


def test_what_a_sidecar_says_may_be_sent_and_does_not_count() -> None:
    metadata = {"file": FILE | SIDECAR, "year": 2001}
    assert check_given(metadata, 200) == metadata
    assert patched(metadata, {"year": 2002}, 200) == metadata | {"year": 2002}


@pytest.mark.parametrize(
    "field",
    [
        {"caption": "c" * 4_001},
        {"title": ["t"]},
        {"keywords": ["k"] * 101},
        {"keywords": ["k" * 201]},
        {"keywords": "k"},
        {"rating": 6},
        {"rating": True},
        {"rating": "5"},
    ],
)
def test_what_no_sidecar_says_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidValue, match=r"of what a sidecar says: caption and title \(texts of at most 4000"
    ):
        check_given({"file": FILE | field}, 10**6)


def test_what_a_sidecar_says_is_not_patched() -> None:
    with pytest.raises(
        InvalidValue, match=r"'file.rating' is what the sidecar of a file says: change it there"
    ):
        patched({"file": FILE | SIDECAR}, {"file": {"rating": 1}}, 10**6)


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        (None, False),
        ({}, False),
        ({"year": 2001}, False),
        ({"year": 2002}, True),
        ({"year": True}, True),
        ({"album": None}, True),
        ({"file": {"name": "dog.png", "folder": "."}}, False),
    ],
)
def test_fields_that_were_given_are_looked_for_and_no_others(given: Any, lacks: bool) -> None:
    for file in (FILE, "cat.png"):
        assert lacks_given(given, {"year": 2001, "tag": "added since", "file": file}) is lacks


def test_time_alone_makes_no_difference() -> None:
    assert same_metadata(
        {"a": 1, "file": FILE}, {"file": FILE | {"modified": "2027-01-01T00:00:00Z"}, "a": 1}
    )
    assert not same_metadata({"file": FILE}, {"file": FILE | {"folder": "."}})
    assert not same_metadata({"file": FILE}, {"file": "2026/rome/cat.png"})
