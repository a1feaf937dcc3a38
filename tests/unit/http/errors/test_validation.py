"""How validation errors are named."""

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from diptych.core.limits import Limits
from diptych.errors import InvalidValue, TooLarge
from diptych.http.endpoints.add_models import AddItems
from diptych.http.endpoints.classify import ClassifyRequest
from diptych.http.endpoints.embed import EmbedRequest
from diptych.http.endpoints.search.request import SearchRequest
from diptych.http.errors.validation import validated
from diptych.http.parsing.limits import check_lengths, check_texts


@pytest.mark.parametrize(
    ("model", "data", "item", "words"),
    [
        (EmbedRequest, {}, "input", "required"),
        (EmbedRequest, [], "body", "must be an object, its keys are encoding_format, input, got []"),
        (EmbedRequest, {"input": [{"text": "a"}, {}]}, "input[1]", "exactly one of text, image, got none"),
        (ClassifyRequest, {"images": ["a"], "labels": []}, "labels", "labels: at least one item is needed"),
        (EmbedRequest, {"input": [{"txt": "a"}]}, "input[0]", "input[0]: txt: unknown key"),
        (SearchRequest, {"query": {"text": "a"}, "k": "3"}, "k", "valid integer"),
        (SearchRequest, {"query": [{"id": "a", "weight": "2"}]}, "query[0]", "query[0]: weight: Input"),
        (
            SearchRequest,
            {"query": "red"},
            "query",
            """such as {"text": "a red car"}, or a list of them, got 'red'""",
        ),
        (SearchRequest, {"query": {"text": "a"}, "filter": []}, "filter", "dict"),
        (ClassifyRequest, {"images": ["a"], "labels": ["a"], "top_k": True}, "top_k", "integer"),
    ],
)
def test_first_error_is_named(model: type[BaseModel], data: Any, item: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        validated(model, data)
    error = caught.value
    assert (error.item or "").startswith(item)
    assert words in str(error)


def test_long_keys_are_not_repeated_in_full() -> None:
    with pytest.raises(InvalidValue) as caught:
        validated(EmbedRequest, {"input": [{"text": "a"}], "k" * 1_000_000: 1})
    assert caught.value.item == "k" * 100 + "..."
    assert len(str(caught.value)) < 300


def test_form_fields_are_converted_and_json_is_not() -> None:
    data = {"query": {"text": "a"}, "k": "3"}
    assert validated(SearchRequest, data, strict=False).k == 3
    with pytest.raises(InvalidValue):
        validated(SearchRequest, data)


N_BAD = 20_000


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (EmbedRequest, {"input": [1] * N_BAD}),
        (EmbedRequest, {"input": [{"text": "a", **{f"key {i}": 1 for i in range(N_BAD)}}]}),
        (ClassifyRequest, {"images": ["a"], "labels": [1] * N_BAD}),
        (SearchRequest, {"query": [1] * N_BAD}),
        (AddItems, {"items": [1] * N_BAD}),
    ],
)
def test_only_the_first_of_many_errors_costs_memory(model: type[BaseModel], data: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValue):
            validated(model, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * N_BAD  # a finding of its own for each takes hundreds of bytes


def test_list_or_text_over_its_limit_is_named_with_its_length() -> None:
    data = {"input": [1, 2, 3], "labels": ["a"]}
    assert check_lengths(data, {"input": 3, "labels": 1, "images": 1}) is data
    assert check_lengths("no object", {"input": 3}) == "no object"
    with pytest.raises(TooLarge, match="input: 3 items, limit is 2"):
        check_lengths(data, {"input": 2})
    with pytest.raises(TooLarge, match="text has 5 characters, limit is 3") as caught:
        check_texts(["abc", "abcde", "abcdef"], "labels", replace(Limits(), max_text_chars=3))
    assert caught.value.item == "labels[1]"
