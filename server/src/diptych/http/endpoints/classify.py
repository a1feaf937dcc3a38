"""`/classify`: zero-shot classification of images with any labels."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from starlette.responses import Response

from diptych.core.classification.classify import DEFAULT_TEMPLATES, ClassifyInput, classify_images
from diptych.core.classification.label_checks import InputWarning, warnings_of_labels
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.core.types import Embedding, ModelInfo, Prediction, StoredImage
from diptych.errors import InvalidValue
from diptych.http.access import GuardedRoute, caller_of, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.references import EXAMPLE_MODEL, ModelRef
from diptych.http.endpoints.vectors import VectorModel, origin_of, parse_vector
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.middleware.body_budget import memory_reserver
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, parse_image_uri
from diptych.http.parsing.limits import check_count, check_lengths, check_texts
from diptych.http.parsing.multipart import read_parts
from diptych.http.parsing.request_models import (
    IMAGE_FIELD,
    FailFastList,
    ImageUri,
    NoQuery,
    PositiveInt,
    RequestModel,
    require_exactly_one,
)
from diptych.http.respond import sized_json_response
from diptych.http.state import ready_services

_ACCEPTED = (MULTIPART, JSON)
_FIELDS = ("image", "labels", "template", "templates", "multi_label", "top_k")
Labels = Annotated[FailFastList[str], Field(min_length=1), WithJsonSchema(schemas.LABELS)]
Template = Annotated[str, WithJsonSchema(schemas.TEMPLATE)]
Templates = Annotated[FailFastList[str], WithJsonSchema(schemas.TEMPLATES)]
TemplateSet = Annotated[str, WithJsonSchema(schemas.TEMPLATE_SET)]


class ClassifyOptions(RequestModel):
    """Options of `/classify`, in JSON and in a form."""

    model_config = ConfigDict(json_schema_extra=schemas.ONE_KIND_OF_TEMPLATES)

    labels: Labels
    template: Template | None = Field(None, description="one text with one {} where the label goes")
    templates: Templates | TemplateSet | None = Field(
        None, description="several, or the name of a set: see prompt_sets of the version"
    )
    multi_label: bool = False
    top_k: PositiveInt | None = None

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.template is not None and self.templates is not None:
            raise ValueError("give template or templates, not both")
        return self


class ClassifyItem(RequestModel):
    """An image, its embedding as /embed answers it, or the id of an image in a collection."""

    model_config = ConfigDict(
        json_schema_extra=schemas.any_rule(
            schemas.exactly_one("image", without=["collection"]),
            schemas.exactly_one("embedding", given={"type": ["array", "string"]}, without=["collection"]),
            schemas.exactly_one("id"),
        )
    )

    image: ImageUri | None = IMAGE_FIELD
    embedding: FailFastList[float] | str | None = Field(
        None,
        description="of unit norm, made by the `model` of the request: numbers, or base64 of little-endian "
        "float32",
    )
    id: str | None = None
    collection: str | None = Field(None, description="of the image with this id; the default one without it")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.collection is not None and self.id is None:
            raise ValueError("collection is given only with an id")
        return require_exactly_one(self, "image", "embedding", "id")


def _as_item(image: object) -> object:
    return {"image": image} if isinstance(image, str) else image


class ClassifyRequest(ClassifyOptions):
    """`POST /classify` as JSON.

    Images are data URIs, or https URLs if the server is allowed to fetch them; or objects with one of these,
    with an embedding, or with the id of an image in a collection.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {"images": [schemas.EXAMPLE_URI], "labels": ["cat", "dog"], "template": "a photo of a {}."},
            {"images": [{"id": "cat", "collection": "gallery"}], "labels": ["cat", "dog"]},
            **schemas.ONE_KIND_OF_TEMPLATES,
        )
    )

    images: FailFastList[
        Annotated[ClassifyItem, BeforeValidator(_as_item, json_schema_input_type=ImageUri | ClassifyItem)]
    ] = Field(min_length=1, json_schema_extra=schemas.limited(maxItems="max_items"))
    model: VectorModel | None = Field(
        None, description="what made the embeddings, as /embed answers it; a 409 unless it serves"
    )


class PredictionResponse(BaseModel):
    """`score` is a probability, computed from `cosine`. `truncated`: the label was too long and was cut."""

    label: str
    score: float
    cosine: float
    truncated: bool = False


class ClassifiedImage(BaseModel):
    """Predictions of one image, best first."""

    index: int
    predictions: list[PredictionResponse]


class InputWarningResponse(BaseModel):
    """What is probably a mistake in the request, which was answered as it stands."""

    item: str
    detail: str


class ClassifyResponse(BaseModel):
    """One entry per image, in the order of the request."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "model": EXAMPLE_MODEL,
                "data": [
                    {
                        "index": 0,
                        "predictions": [
                            {"label": "cat", "score": 0.97, "cosine": 0.271, "truncated": False},
                            {"label": "dog", "score": 0.03, "cosine": 0.236, "truncated": False},
                        ],
                    }
                ],
                "warnings": [],
            }
        )
    )

    model: ModelRef
    data: list[ClassifiedImage]
    warnings: list[InputWarningResponse] = Field(
        description="such as a single label with commas, which do not separate labels"
    )


router = APIRouter(tags=["encode"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_FORM = schemas.form(
    {
        "image": schemas.non_empty_list(schemas.FILE, limit="max_items"),
        "labels": {
            **schemas.LABEL_FIELDS,
            "description": "repeated, or one JSON array of strings; commas never split",
        },
        "template": {**schemas.TEMPLATE, "description": "one text with one {} where the label goes"},
        "templates": {
            **schemas.TEMPLATE_FIELDS,
            "description": "several, or the name of a set: see prompt_sets of the version",
        },
        "multi_label": {"type": "boolean"},
        "top_k": {"type": "integer", "minimum": 1},
    },
    required=("image", "labels"),
    examples=[{"image": [schemas.EXAMPLE_FILE], "labels": ["cat", "dog"]}],
    **schemas.ONE_KIND_OF_TEMPLATES,
)


@router.post(
    "/classify",
    summary="Label images",
    response_model=ClassifyResponse,
    responses=documented_errors(404, 409, *BODY_ERRORS),
    openapi_extra=request_body(ClassifyRequest, _FORM),
)
@needs("read", collections="chosen")
async def classify(request: Request, _: NoQuery) -> Response:
    """Predict which of the labels fit each image, best first (zero-shot classification).

    Scores are a softmax over the given labels, or with `multi_label` an independent probability of each
    label.
    """
    services, options = ready_services(request)
    context = context_of(request)
    with context.stage("parse"):
        classify_input = await read_classify(request, options)
        stored = [image for image in classify_input.images if isinstance(image, StoredImage)]
        for image in stored:
            if image.collection is not None:
                caller_of(request).require_seen(image.collection)
        if stored:
            await services.collections.catch_up()
    with context.stage("work"), services.serving.use() as snapshot:
        classification = classify_images(
            classify_input,
            image_urls=services.image_urls,
            embedder=snapshot.version.embedder,
            classifier=snapshot.version.classifier,
            stored=services.collections.images,
            reserve=memory_reserver(request),
        )
        predictions = await cancel_on_disconnect(request, classification)
    n_values = 4 * sum(map(len, predictions))
    warnings = warnings_of_labels(classify_input.labels)
    return await sized_json_response(
        request, n_values, lambda: _response(snapshot.version.model, predictions, warnings)
    )


def _response(
    model: ModelInfo, predictions: list[list[Prediction]], warnings: list[InputWarning]
) -> ClassifyResponse:
    data = [
        ClassifiedImage(
            index=i, predictions=[PredictionResponse(**vars(prediction)) for prediction in of_image]
        )
        for i, of_image in enumerate(predictions)
    ]
    return ClassifyResponse(
        model=ModelRef.of(model),
        data=data,
        warnings=[InputWarningResponse(**vars(warning)) for warning in warnings],
    )


async def read_classify(request: Request, options: HttpOptions) -> ClassifyInput:
    """Read either of the accepted bodies.

    Raises InputError that names the item, HTTPException 415 and 408.
    """
    kind, limits = media_type(request), options.limits
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, options=options))
    if kind == MULTIPART:
        max_parts = limits.max_items + limits.max_labels + limits.max_templates + len(_FIELDS)
        bound = f"at most {limits.max_items} images and {limits.max_labels} labels"
        parts = await read_parts(request, options.body, max_parts, bound)
        return _from_form(Form(parts, _FIELDS), limits)
    raise unsupported(request, _ACCEPTED)


def _from_json(body: bytearray, options: HttpOptions) -> ClassifyInput:
    limits = options.limits
    lengths = {"images": limits.max_items, **_list_limits(limits)}
    body_model = validated(ClassifyRequest, check_lengths(parse_json(body), lengths))
    check_options(body_model, len(body_model.images), limits)
    if body_model.model is None and any(item.embedding is not None for item in body_model.images):
        raise InvalidValue("is needed for embeddings: send the `model` of the answer of /embed", "model")
    images = [_image_of(item, f"images[{i}]", options) for i, item in enumerate(body_model.images)]
    origin = None if body_model.model is None else origin_of(body_model.model)
    return replace(classify_input(images, body_model), origin=origin)


def _image_of(
    item: ClassifyItem, name: str, options: HttpOptions
) -> bytes | ImageUrl | StoredImage | Embedding:
    if item.embedding is not None:
        return parse_vector(item.embedding, name)
    if item.id is not None:
        return StoredImage(item.id, item.collection or options.default_collection)
    assert item.image is not None, "validated"
    return parse_image_uri(item.image, name, options.limits.max_image_bytes)


def _from_form(form: Form, limits: Limits) -> ClassifyInput:
    parts = list(form.parts("image"))
    check_count(parts, "images", limits.max_items)
    images = [
        check_image_bytes(part.data, f"images[{i}]", limits.max_image_bytes) for i, part in enumerate(parts)
    ]
    values = form.values("template", "multi_label", "top_k")
    lists = {"labels": form.strings("labels"), "templates": _templates(form)}
    values |= {name: value for name, value in lists.items() if value is not None}
    options = validated(ClassifyOptions, check_lengths(values, _list_limits(limits)), strict=False)
    check_options(options, len(images), limits)
    return classify_input(images, options)


def classify_input(
    images: Sequence[bytes | ImageUrl | StoredImage | Embedding], options: ClassifyOptions
) -> ClassifyInput:
    """Build the input of the use case."""
    templates = options.templates if options.templates is not None else DEFAULT_TEMPLATES
    return ClassifyInput(
        images=images,
        labels=options.labels,
        templates=templates if options.template is None else [options.template],
        multi_label=options.multi_label,
        top_k=options.top_k,
    )


def _templates(form: Form) -> list[str] | str | None:
    """The list of templates. A single value without `{}` is the name of a template set."""
    values = form.strings("templates")
    return values[0] if values is not None and len(values) == 1 and "{}" not in values[0] else values


def _list_limits(limits: Limits) -> dict[str, int]:
    return {"labels": limits.max_labels, "templates": limits.max_templates}


def check_options(options: ClassifyOptions, n_images: int, limits: Limits) -> None:
    """Raises InputError for labels, templates or numbers of predictions over a limit."""
    check_texts(options.labels, "labels", limits)
    if isinstance(options.templates, list):
        check_count(options.templates, "templates", limits.max_templates)
        check_texts(options.templates, "templates", limits)
    n_labels = len(options.labels)
    n_per_image = n_labels if options.top_k is None else min(options.top_k, n_labels)
    if n_images * n_per_image > limits.max_predictions:
        raise InvalidValue(
            f"{n_images} images x {n_per_image} labels = {n_images * n_per_image} predictions, "
            f"limit is {limits.max_predictions}: lower top_k",
            "top_k",
        )
