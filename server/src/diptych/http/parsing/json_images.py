"""Read images that JSON holds as data URIs or URLs. URLs are not fetched here."""

import base64
import binascii
import re

from diptych.core.fetching.image_urls import ImageUrl
from diptych.errors import InvalidValue, TooLarge, UnsupportedImage

_DATA_URI = re.compile(r"data:[A-Za-z0-9.+/-]*(;[A-Za-z0-9.+=/-]+)*;base64,", re.IGNORECASE)
_MAX_HEAD_CHARS = (
    300  # up to the comma: matching a long head takes much memory, as the pattern records each repetition
)
# Each white space is named: what `\s` stands for differs between Python and the readers of JSON schemas.
ANY_DATA_URI = r"[ \t\n\r\f\v]*data:(image/|[^ \t\n\r\f\v,]*;base64,)"
_ANY_DATA_URI = re.compile(ANY_DATA_URI, re.IGNORECASE)
_URL = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # base64 has no colon


def parse_image_uri(text: str, item: str, max_bytes: int) -> bytes | ImageUrl:
    """The bytes of a data URI, or a URL that is still to be fetched. Raises as decode_data_uri."""
    return ImageUrl(text) if _URL.match(text) else decode_data_uri(text, item, max_bytes)


def is_data_uri(text: str) -> bool:
    """Whether the text is a data URI, of an image or of another file."""
    return _ANY_DATA_URI.match(text) is not None


def parse_image(text: str, item: str, max_bytes: int) -> bytes | ImageUrl:
    """As parse_image_uri; the text may also be the base64 of the file alone."""
    if _URL.match(text) or _SCHEME.match(text[:_MAX_HEAD_CHARS]):
        return parse_image_uri(text, item, max_bytes)
    return _decode_base64(text, 0, "base64", item, max_bytes)


def decode_data_uri(uri: str, item: str, max_bytes: int) -> bytes:
    """The bytes of `data:image/...;base64,...`.

    Raises InvalidValue, UnsupportedImage or TooLarge that names `item`.
    """
    head = _DATA_URI.match(uri[:_MAX_HEAD_CHARS])
    if head is None:
        raise InvalidValue(f"not a data URI of the form data:image/png;base64,...: {uri[:24]!r}", item)
    return _decode_base64(uri, head.end(), "base64 of the data URI", item, max_bytes)


def check_image_bytes(payload: bytes, item: str, max_bytes: int) -> bytes:
    """Return the payload. Raises UnsupportedImage when it is empty, TooLarge over the limit."""
    if not payload:
        raise UnsupportedImage("image is empty (0 bytes)", item)
    if len(payload) > max_bytes:
        raise TooLarge(f"image has {len(payload)} bytes, limit is {max_bytes}", item)
    return payload


def _decode_base64(text: str, start: int, what: str, item: str, max_bytes: int) -> bytes:
    n_bytes = (len(text) - start) * 3 // 4
    if n_bytes > max_bytes + 2:  # up to two bytes of that may be padding
        raise TooLarge(f"image has {n_bytes} bytes, limit is {max_bytes}", item)
    try:
        payload = base64.b64decode(text[start:], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue(f"{what} is broken: {error}", item) from None
    return check_image_bytes(payload, item, max_bytes)
