"""Read the bodies that `/embed` takes. Knows nothing of embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request

from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.errors import Malformed
from diptych.http.errors.validation import validated
from diptych.http.media_types import ANY_IMAGE, JSON, MULTIPART, TEXT, media_type, unsupported
from diptych.http.options import BodyLimits, HttpOptions
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, read_image
from diptych.http.parsing.limits import check_count, check_lengths, check_text
from diptych.http.parsing.multipart import Part, read_parts
from diptych.http.parsing.request_models import EncodingFormat
from diptych.http.requests import EmbedItem, EmbedOptions, EmbedRequest

ACCEPTED = (JSON, MULTIPART, ANY_IMAGE, TEXT)
N_OPTIONS = 1  # form fields beside the items

Item = str | bytes | ImageUrl  # a text, or the bytes of an image file, here or elsewhere


@dataclass(frozen=True)
class ParsedEmbed:
    """What to embed, in the order of the request; errors name `input[i]`."""

    items: Sequence[Item]
    encoding_format: EncodingFormat = "float"


async def read_embed(request: Request, options: HttpOptions) -> ParsedEmbed:
    """Any of the accepted bodies. Raises InputError naming the item, HTTPException 415 and 408."""
    kind, limits = media_type(request), options.limits
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, limits=limits))
    if kind == MULTIPART:
        parts = await read_parts(
            request, options.body, limits.max_items + N_OPTIONS, f"at most {limits.max_items} items"
        )
        return _from_form(Form(parts, ("image", "text", "encoding_format")), limits)
    if kind.startswith("image/"):
        payload = await read_body(request, BodyLimits(limits.max_image_bytes, limits.body_timeout_s))
        return ParsedEmbed([check_image_bytes(bytes(payload), "input[0]", limits.max_image_bytes)])
    if kind == TEXT:
        return ParsedEmbed([_from_text(await read_body(request, options.body), limits)])
    raise unsupported(request, ACCEPTED)


def _from_json(body: bytearray, limits: Limits) -> ParsedEmbed:
    asked = validated(EmbedRequest, check_lengths(parse_json(body), {"input": limits.max_items}))
    items = [_from_item(item, f"input[{i}]", limits) for i, item in enumerate(asked.input)]
    return ParsedEmbed(items, asked.encoding_format)


def _from_item(item: EmbedItem, name: str, limits: Limits) -> Item:
    if item.image is not None:
        return read_image(item.image, name, limits.max_image_bytes)
    assert item.text is not None, "validated"
    return check_text(item.text, name, limits)


def _from_form(form: Form, limits: Limits) -> ParsedEmbed:
    parts = list(form.parts("image", "text"))
    check_count(parts, "input", limits.max_items)
    items = [_from_part(part, f"input[{i}]", limits) for i, part in enumerate(parts)]
    options = validated(EmbedOptions, form.given("encoding_format"), strict=False)
    return ParsedEmbed(items, options.encoding_format)


def _from_part(part: Part, name: str, limits: Limits) -> Item:
    if part.name == "image":
        return check_image_bytes(part.data, name, limits.max_image_bytes)
    return check_text(part.text(name), name, limits)


def _from_text(body: bytearray, limits: Limits) -> str:
    try:
        return check_text(body.decode(), "input[0]", limits)
    except UnicodeDecodeError as error:
        raise Malformed(f"text must be UTF-8, byte {error.start} is not", "input[0]") from None
