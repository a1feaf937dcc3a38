"""The multipart reader, with bodies in one chunk and in many."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request

from diptych.errors import InvalidValue, Malformed, TooLarge
from diptych.http.options import BodyLimits
from diptych.http.parsing.form import Form
from diptych.http.parsing.multipart import Part, read_parts

FORM = "multipart/form-data; boundary=b"
BODY = (
    b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nfirst\r\n'
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n\x00\r\n--x\xff\r\n"
    b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n\xc3\xa9\r\n--b--\r\n'
)


def request_of(chunks: Sequence[bytes], content_type: str = FORM) -> Request:
    waiting = list(chunks)

    async def receive() -> dict[str, object]:
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def read(
    chunks: Sequence[bytes], *, max_bytes: int = 10_000, max_parts: int = 10, **request: str
) -> list[Part]:
    limits = BodyLimits(max_bytes, timeout_s=10)
    return asyncio.run(read_parts(request_of(chunks, **request), limits, max_parts, "at most ten"))


@pytest.mark.parametrize("size", [1, 7, len(BODY)])
def test_parts_are_in_body_order_for_any_chunk_size(size: int) -> None:
    parts = read([BODY[i : i + size] for i in range(0, len(BODY), size)])
    assert [(part.name, bytes(part.data)) for part in parts] == [
        ("text", b"first"),
        ("image", b"\x00\r\n--x\xff"),
        ("text", "é".encode()),
    ]


def test_text_that_is_not_utf8_is_malformed_and_named() -> None:
    with pytest.raises(Malformed) as caught:
        read([BODY])[1].text("input[1]")
    assert caught.value.item == "input[1]"


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (BODY, "multipart/form-data", "without a boundary"),
        (BODY, 'multipart/form-data; boundary="b', "without a boundary"),
        (BODY, 'multipart/form-data; boundary="b\\"; charset=utf-8', "without a boundary"),
        (BODY, f"{FORM}{'b' * 299}", "Boundary length 300 exceeds maximum of 256"),
        (BODY[:-8], FORM, "ends before its closing boundary"),
        (b"no multipart at all", FORM, "not a multipart body: "),
        (b"", FORM, "ends before its closing boundary"),
        (BODY.replace(b"Content-Type", b"Content Type"), FORM, "invalid character"),
        (BODY.replace(b"image/png", b"i" * 9000), FORM, "Maximum header size exceeded"),
        (BODY.replace(b'name="image"', b"x=y"), FORM, "part 1 of the multipart body has no name"),
        (BODY.replace(b'"image"', b'""'), FORM, "part 1 of the multipart body has no name"),
        (BODY.replace(b"image", b"\xff", 1), FORM, "name of part 1 of the multipart body is not UTF-8"),
    ],
    ids=[
        "no boundary",
        "open quote",
        "escape",
        "boundary too long",
        "unfinished",
        "not multipart",
        "empty",
        "broken header",
        "header too long",
        "part without a name",
        "empty name",
        "name not UTF-8",
    ],
)
def test_broken_bodies_are_malformed_with_a_reason(body: bytes, content_type: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read([body], content_type=content_type, max_bytes=20_000)


@pytest.mark.parametrize(
    ("payload", "error", "item"),
    [
        (b'["a", 3]', InvalidValue, "labels[1]"),
        (b'["a"', Malformed, "labels"),
        (b'["\xff"]', Malformed, "labels[0]"),
    ],
)
def test_invalid_list_field_is_rejected_and_named(
    payload: bytes, error: type[InvalidValue | Malformed], item: str
) -> None:
    with pytest.raises(error) as caught:
        Form([Part("labels", payload)], ("labels",)).strings("labels")
    assert caught.value.item == item


def test_one_part_too_many_is_too_large_and_the_limit_is_named() -> None:
    with pytest.raises(TooLarge, match="more than 2 parts: at most ten"):
        read([BODY], max_parts=2)


def test_bytes_are_counted_while_they_arrive() -> None:
    with pytest.raises(TooLarge, match="limit of 100 bytes"):
        read([BODY[:60], BODY[60:]], max_bytes=100)
