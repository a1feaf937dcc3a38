"""The fields of `exif` in metadata: read from files or given, checked, compared and counted."""

from typing import Any

import pytest

from diptych.bundle.image.exif import NO_EXIF, Exif
from diptych.core.collections.metadata.exif import exif_fields, with_exif
from diptych.core.collections.metadata.reserved import (
    check_given,
    check_reserved,
    lacks_given,
    patched,
    same_metadata,
)
from diptych.errors import InvalidValue, TooLarge
from support.photographs import BASIC, PLACE

FILE = BASIC | PLACE


def test_place_is_stored_only_on_request() -> None:
    exif = Exif(**FILE)
    assert exif_fields(exif, "none") == {}
    assert exif_fields(exif, "basic") == BASIC
    assert exif_fields(exif, "place") == FILE
    assert exif_fields(NO_EXIF, "place") == {}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"n": 1}, {"n": 1, "exif": FILE}),
        ({"exif": {}}, {"exif": FILE}),
        ({"exif": {"camera": "mine", "iso": 100}}, {"exif": FILE | {"camera": "mine", "iso": 100}}),
        ({"exif": {"latitude": 1.0}}, {"exif": BASIC | {"latitude": 1.0}}),  # of an earlier release
        ({"exif": "of an earlier release"}, {"exif": "of an earlier release"}),
    ],
)
def test_given_fields_win_over_those_of_the_file(given: dict[str, Any], stored: dict[str, Any]) -> None:
    assert with_exif(given, FILE) == stored
    assert with_exif(given, {}) == given


@pytest.mark.parametrize(
    "exif",
    [
        FILE,
        {"taken_at": "2024-05-01T10:11:12"},
        {"taken_at": "2024-05-01T10:11Z"},
        {"taken_at": "2024-05-01T10:11:12.25-08:00"},
        {"latitude": -90, "longitude": 180.0},
        {"iso": 100, "camera": ""},
    ],
)
def test_values_as_the_server_writes_them_may_be_given(exif: dict[str, Any]) -> None:
    check_reserved({"exif": exif})


@pytest.mark.parametrize(
    ("exif", "complaint"),
    [
        (
            {"taken_at": 2024},
            r"'exif.taken_at' is a reserved name: its value must be an ISO 8601 time such as",
        ),
        ({"taken_at": "2024-05-01"}, "'exif.taken_at'"),
        ({"taken_at": "2024:05:01 10:11:12"}, "'exif.taken_at'"),
        ({"taken_at": "2024-13-01T10:11:12"}, "'exif.taken_at'"),
        ({"taken_at": "2024-05-01T10:11:12+25:00"}, "'exif.taken_at'"),
        ({"camera": None}, "'exif.camera' is a reserved name: its value must be a text of at most 200 char"),
        ({"lens": "L" * 201}, "'exif.lens'"),
        (
            {"latitude": "41"},
            "'exif.latitude' is a reserved name: its value must be a number of degrees from -90",
        ),
        ({"latitude": 90.1}, "'exif.latitude'"),
        ({"latitude": float("nan")}, "'exif.latitude'"),
        ({"longitude": True}, "'exif.longitude'"),
        ({"longitude": 10**400}, "'exif.longitude'"),
        ({"latitude": 1.5}, "'exif' has half a place, without 'longitude': give both, or neither"),
        ({"longitude": 1.5}, "without 'latitude'"),
    ],
)
def test_other_values_are_refused_where_they_are_added_or_patched(
    exif: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        check_given({"exif": exif}, 1000)
    if None not in exif.values():  # which removes a field
        with pytest.raises(InvalidValue, match=complaint):
            patched({}, {"exif": exif}, 1000)


def test_patch_changes_single_fields_next_to_what_earlier_releases_stored() -> None:
    stored = {"exif": {"taken_at": "yesterday", "lens": 50, "latitude": 1}}
    assert patched(stored, {"exif": {"camera": "mine", "latitude": None}}, 1000) == {
        "exif": {"taken_at": "yesterday", "lens": 50, "camera": "mine"}
    }
    assert patched(stored, {"exif": None}, 1000) == {}


def test_patch_leaves_a_place_whole() -> None:
    stored: dict[str, Any] = {"exif": dict(FILE)}
    assert patched(stored, {"exif": {"latitude": 1.5}}, 1000)["exif"] == FILE | {"latitude": 1.5}
    assert patched(stored, {"exif": {"latitude": None, "longitude": None}}, 1000)["exif"] == BASIC
    with pytest.raises(InvalidValue, match="without 'latitude'"):
        patched(stored, {"exif": {"latitude": None}}, 1000)


def test_exif_that_is_null_counts_as_absent() -> None:
    assert check_given({"n": 1, "exif": None}, 1000) == {"n": 1}


@pytest.mark.parametrize(
    "metadata", [{"exif": "yes"}, {"exif": {"taken_at": 1999}}, {"exif.taken_at": "1999"}]
)
def test_error_of_a_reserved_name_says_what_to_do(metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=r"'exif.*; rename this field, or remove it"):
        check_given(metadata, 1000)


def test_fields_of_the_file_do_not_count_against_the_limit() -> None:
    stored = {"a": "x" * 20, "exif": FILE}
    assert check_given(stored, 30) == stored
    assert patched(stored, {"b": 1}, 40)["exif"] == FILE
    with pytest.raises(TooLarge):
        check_given({"exif": FILE | {"iso": "x" * 30}}, 30)
    with pytest.raises(TooLarge):
        patched(stored, {"b": "x" * 20}, 40)


@pytest.mark.parametrize(
    ("given", "stored", "is_same"),
    [
        ({"n": 1}, {"n": 1, "exif": FILE}, True),
        ({"n": 1, "exif": {"lens": BASIC["lens"]}}, {"n": 1, "exif": FILE}, True),
        ({"exif": {}}, {}, True),
        ({"exif": {"lens": "other"}}, {"exif": FILE}, False),
        ({"exif": {"iso": 100}}, {"exif": FILE}, False),
        ({"exif": {"iso": 100}}, {}, False),
        ({"n": 2}, {"n": 1, "exif": FILE}, False),
    ],
)
def test_fields_of_the_file_make_no_difference_when_an_image_comes_again(
    given: dict[str, Any], stored: dict[str, Any], is_same: bool
) -> None:
    assert same_metadata(given, stored) is is_same
    assert lacks_given(given, stored) is not is_same
