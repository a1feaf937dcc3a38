"""Texts and images as other products' clients send them: plain strings, data URIs, URLs and base64."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Discriminator, Tag, WithJsonSchema

from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.errors import TooLarge
from diptych.http.parsing import schemas
from diptych.http.parsing.json_images import decode_data_uri, is_data_uri, parse_image
from diptych.http.parsing.limits import check_text

Item = str | bytes | ImageUrl  # a text, the bytes of an image file, or the URL of one
Text = TypeVar("Text")
Other = TypeVar("Other")
EXAMPLE_IMAGE = (  # base64 of a picture of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_TEXT, _OTHER = "<text>", "<other>"  # no keys of a request have these names


def _kind(value: object) -> str:
    return _OTHER if isinstance(value, list | dict) else _TEXT


# A string, or else the list or object: an error then speaks of what was sent, not of every alternative.
TextOr = Annotated[
    Annotated[Text, Tag(_TEXT)] | Annotated[Other, Tag(_OTHER)],
    Discriminator(_kind),
]
TextOrDataUri = Annotated[str, WithJsonSchema(schemas.TEXT_OR_DATA_URI)]


def parse_text_or_data_uri(text: str, name: str, limits: Limits) -> Item:
    """The bytes of an image if the string is a data URI, else the text itself.

    A URL is a text here. Raises InputError that names the item.
    """
    if is_data_uri(text):
        return decode_data_uri(text, name, limits.max_image_bytes)
    return check_text(text, name, limits)


def parse_image_string(text: str, name: str, limits: Limits) -> bytes | ImageUrl:
    """An image as a data URI, a URL, or the base64 of its file. Raises InputError that names the item."""
    return parse_image(text, name, limits.max_image_bytes)


def check_image_count(items: Sequence[Item], name: str, limits: Limits) -> None:
    """Raises TooLarge when the list has more images than one request may have."""
    n_images = sum(not isinstance(item, str) for item in items)
    if n_images > limits.max_items:
        raise TooLarge(f"{n_images} images, limit is {limits.max_items}", name)
