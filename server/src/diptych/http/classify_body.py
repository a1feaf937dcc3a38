"""Read the bodies that `/classify` takes. Knows nothing of classifying."""

from collections.abc import Sequence
from functools import partial

from starlette.requests import Request

from diptych.core.classification.classify import DEFAULT_TEMPLATES, ClassifyInput
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.errors import InvalidValue
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, read_image
from diptych.http.parsing.limits import check_count, check_lengths, check_texts
from diptych.http.parsing.multipart import read_parts
from diptych.http.requests import ClassifyOptions, ClassifyRequest

ACCEPTED = (MULTIPART, JSON)
_FIELDS = ("image", "labels", "template", "templates", "multi_label", "top_k")


async def read_classify(request: Request, options: HttpOptions) -> ClassifyInput:
    """Either of the accepted bodies. Raises InputError naming the item, HTTPException 415 and 408."""
    kind, limits = media_type(request), options.limits
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, limits=limits))
    if kind == MULTIPART:
        max_parts = limits.max_items + limits.max_labels + limits.max_templates + len(_FIELDS)
        bound = f"at most {limits.max_items} images and {limits.max_labels} labels"
        parts = await read_parts(request, options.body, max_parts, bound)
        return _from_form(Form(parts, _FIELDS), limits)
    raise unsupported(request, ACCEPTED)


def _from_json(body: bytearray, limits: Limits) -> ClassifyInput:
    lengths = {"images": limits.max_items, **_list_limits(limits)}
    asked = validated(ClassifyRequest, check_lengths(parse_json(body), lengths))
    _check_options(asked, len(asked.images), limits)
    images = [read_image(text, f"images[{i}]", limits.max_image_bytes) for i, text in enumerate(asked.images)]
    return _input(images, asked)


def _from_form(form: Form, limits: Limits) -> ClassifyInput:
    parts = list(form.parts("image"))
    check_count(parts, "images", limits.max_items)
    images = [
        check_image_bytes(part.data, f"images[{i}]", limits.max_image_bytes) for i, part in enumerate(parts)
    ]
    given = form.given("template", "multi_label", "top_k")
    lists = {"labels": form.strings("labels"), "templates": _templates(form)}
    given |= {name: value for name, value in lists.items() if value is not None}
    asked = validated(ClassifyOptions, check_lengths(given, _list_limits(limits)), strict=False)
    _check_options(asked, len(images), limits)
    return _input(images, asked)


def _input(images: Sequence[bytes | ImageUrl], asked: ClassifyOptions) -> ClassifyInput:
    templates = asked.templates if asked.templates is not None else DEFAULT_TEMPLATES
    return ClassifyInput(
        images=images,
        labels=asked.labels,
        templates=templates if asked.template is None else [asked.template],
        multi_label=asked.multi_label,
        top_k=asked.top_k,
    )


def _templates(form: Form) -> list[str] | str | None:
    """Several templates; a single one without a place for the label is the name of a set."""
    values = form.strings("templates")
    return values[0] if values is not None and len(values) == 1 and "{}" not in values[0] else values


def _list_limits(limits: Limits) -> dict[str, int]:
    return {"labels": limits.max_labels, "templates": limits.max_templates}


def _check_options(options: ClassifyOptions, n_images: int, limits: Limits) -> None:
    check_texts(options.labels, "labels", limits)
    if isinstance(options.templates, list):
        check_count(options.templates, "templates", limits.max_templates)
        check_texts(options.templates, "templates", limits)
    n_labels = len(options.labels)
    n_each = n_labels if options.top_k is None else min(options.top_k, n_labels)
    if n_images * n_each > limits.max_predictions:
        raise InvalidValue(
            f"{n_images} images x {n_each} labels = {n_images * n_each} predictions, "
            f"limit is {limits.max_predictions}: ask for fewer of the best",
            "top_k",
        )
