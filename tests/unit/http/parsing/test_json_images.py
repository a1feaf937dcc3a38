"""Data URIs in JSON: accepted heads, and their cost."""

import base64
import tracemalloc

import pytest

from diptych.core.fetching.image_urls import ImageUrl
from diptych.errors import InvalidValue, TooLarge
from diptych.http.parsing.json_images import decode_data_uri, parse_image

MAX_BYTES = 1_000


@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:image/jpeg;name=a.jpg;Base64,"])
def test_decoded_bytes_are_those_that_were_encoded(head: str) -> None:
    assert decode_data_uri(head + base64.b64encode(b"picture").decode(), "input[0]", MAX_BYTES) == b"picture"


def test_image_may_be_a_data_uri_a_url_or_bare_base64() -> None:
    encoded = base64.b64encode(b"picture").decode()
    for text in (encoded, f"data:image/png;base64,{encoded}"):
        assert parse_image(text, "input[0]", MAX_BYTES) == b"picture"
    assert parse_image("https://a.example/b.png", "input[0]", MAX_BYTES) == ImageUrl(
        "https://a.example/b.png"
    )


def test_too_many_bytes_are_rejected_undecoded() -> None:
    with pytest.raises(TooLarge, match=f"limit is {MAX_BYTES}"):
        decode_data_uri("data:image/png;base64," + "A" * 10_000_000, "input[0]", MAX_BYTES)


@pytest.mark.parametrize("head", ["data:" + ";a" * 5_000_000, "x" * 10_000_000])
def test_head_of_millions_of_parts_is_rejected_cheaply(head: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValue, match="not a data URI"):
            decode_data_uri(head, "input[0]", MAX_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
