import sys
from typing import Any

import pytest

from diptych.core.collections.metadata.checks import check_metadata, merge_patch
from diptych.core.collections.stored.ids import check_collection_name, check_id, content_id, sha256_of
from diptych.errors import InvalidValue, TooLarge

# The examples of RFC 7396, appendix A, whose patch and target are objects.
RFC_7396: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_merge_patch_follows_the_rfc(target: Any, patch: Any, result: Any) -> None:
    before = repr(target)
    assert merge_patch(target, patch) == result
    assert repr(target) == before


@pytest.mark.parametrize("metadata", [[], "text", None, {"a": float("nan")}, {"a": {1, 2}}])
def test_metadata_that_is_no_json_object_is_refused(metadata: Any) -> None:
    with pytest.raises(InvalidValue):
        check_metadata(metadata, 1000)


@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        ({"a": 10**400}, "metadata.a"),
        ({"a": [0, {"b": -(10**309)}]}, r"metadata.a\[1\].b"),
        ({"9" * 400: 2 * int(sys.float_info.max)}, "metadata.9{40}"),
    ],
)
def test_integer_beyond_a_double_is_refused_with_its_name(metadata: Any, where: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{where} is an integer beyond the range of a double$"):
        check_metadata(metadata, 10_000)


def test_long_digits_that_are_no_such_integer_are_taken() -> None:
    kept = {"text": "9" * 400, "9" * 400: int(sys.float_info.max), "exact": 2**53 + 1}
    assert check_metadata(kept, 10_000) == kept


def test_metadata_is_bounded_in_size_and_depth() -> None:
    with pytest.raises(TooLarge, match="metadata has 108 bytes as JSON, the limit is 100"):
        check_metadata({"a": "x" * 100}, 100)
    deep: Any = 1
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(InvalidValue, match="deeper than 32"):
        check_metadata({"a": deep}, 10**9)


@pytest.mark.parametrize("id", ["a", "A-z_0.9~", "x" * 128])
def test_ids_safe_in_a_path_are_taken(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", "x" * 129, "a/b", "ä", "a b", "a\n", ".", ".."])
def test_other_ids_are_refused(id: str) -> None:
    with pytest.raises(InvalidValue, match=r"A-Z a-z 0-9 . _ ~ - and not . or \.\.$"):
        check_id(id)


@pytest.mark.parametrize("name", ["", "Upper", "-a", "a/b", "x" * 65, "a\n"])
def test_collection_names_are_those_of_models(name: str) -> None:
    with pytest.raises(InvalidValue):
        check_collection_name(name)


def test_default_id_is_half_of_the_sha256() -> None:
    assert content_id(sha256_of(b"abc")) == "ba7816bf8f01cfea414140de5dae2223"
