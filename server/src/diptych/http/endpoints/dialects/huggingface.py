"""`/hf`: tasks of Hugging Face's inference clients, each at a URL that the client takes as its model.

The clients read answers as plain lists, and errors as `{"error": "..."}`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, WithJsonSchema
from starlette.responses import Response

from diptych.core.classification.classify import ClassifyInput, classify_images
from diptych.core.encoding.embed import check_dimensions, embed_items, shortened
from diptych.core.limits import Limits
from diptych.core.types import Prediction, TextEmbedding
from diptych.errors import DiptychError, InvalidValue
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.classify import ClassifyOptions, Labels, Template, check_options, classify_input
from diptych.http.endpoints.dialects.items import (
    EXAMPLE_IMAGE,
    Item,
    TextOr,
    TextOrDataUri,
    check_image_count,
    parse_image_string,
    parse_text_or_data_uri,
)
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, hugging_face_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.middleware.body_budget import memory_reserver
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.limits import check_lengths
from diptych.http.parsing.request_models import FailFastList, NonNegativeInt, RequestModel
from diptych.http.respond import sized_json_response
from diptych.http.state import ready_services

Read = TypeVar("Read")
AnyImage = Annotated[str, WithJsonSchema(schemas.ANY_IMAGE)]
_NAMES = {  # of the use case -> of the request
    "images": "inputs",
    "labels": "parameters.candidate_labels",
    "templates": "parameters.hypothesis_template",
}


class HuggingFaceImage(RequestModel):
    """An image, as Hugging Face's client for JavaScript sends it."""

    image: AnyImage


class ZeroShotParameters(RequestModel):
    """What an image is compared with."""

    candidate_labels: Labels
    hypothesis_template: Template | None = Field(None, description="one text with one {} for the label")


_ZERO_SHOT: JsonValue = {
    "inputs": EXAMPLE_IMAGE,
    "parameters": {"candidate_labels": ["cat", "dog"], "hypothesis_template": "a photo of a {}"},
}


class ZeroShotImageRequest(RequestModel):
    """`POST /hf/zero-shot-image-classification`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ZERO_SHOT]})

    inputs: TextOr[AnyImage, HuggingFaceImage] = Field(description="base64 of the file, a data URI or a URL")
    parameters: ZeroShotParameters


class HuggingFaceLabel(BaseModel):
    """`score`: a probability among the labels."""

    label: str
    score: float


class ZeroShotImageResponse(RootModel[list[HuggingFaceLabel]]):
    """Every label, best first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [[{"label": "cat", "score": 0.97}, {"label": "dog", "score": 0.03}]]}
    )


Inputs = Annotated[
    FailFastList[TextOrDataUri],
    Field(min_length=1, json_schema_extra=schemas.limited(maxItems="max_openai_inputs")),
]


class FeatureExtractionRequest(RequestModel):
    """`POST /hf/feature-extraction`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": ["a cat", "a dog"]}]})

    inputs: TextOr[TextOrDataUri, Inputs] = Field(
        description="a text or an image, or a list of them; a data URI is an image"
    )
    normalize: Literal[True] | None = Field(None, description="embeddings have unit norm always")
    truncate: bool | None = Field(None, description="false: a text that is too long is a 422")
    truncation_direction: Literal["right"] | None = Field(None, description="the end is cut always")
    dimensions: NonNegativeInt | None = Field(
        None, description="fewer than the model's only where its version allows it; 0: the model's"
    )
    encoding_format: Literal["float"] | None = None


class FeatureExtractionResponse(RootModel[list[float] | list[list[float]]]):
    """One embedding for a text or an image, a list of embeddings for a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [[[0.0131, -0.0482], [0.0254, 0.0917]]]})


# Unknown query parameters are ignored here, as under /v1.
router = APIRouter(
    prefix="/hf",
    tags=["Hugging Face"],
    responses=hugging_face_errors(*COMMON_ERRORS),
    route_class=GuardedRoute,
)


@router.post(
    "/zero-shot-image-classification",
    summary="Label an image as with Hugging Face",
    operation_id="huggingface_zero_shot_image_classification",
    response_model=ZeroShotImageResponse,
    responses=hugging_face_errors(*BODY_ERRORS),
    openapi_extra=request_body(ZeroShotImageRequest),
)
@needs("read")
async def zero_shot_image_classification(request: Request) -> Response:
    """Predict which of the labels fit an image, best first.

    Without a `hypothesis_template` labels are filled into the model's own templates.
    """
    services, options = ready_services(request)
    context = context_of(request)
    with context.stage("parse"):
        given = await _read_json(request, options, partial(_zero_shot, limits=options.limits))
    with context.stage("work"), services.serving.use() as snapshot:
        classification = classify_images(
            given,
            image_urls=services.image_urls,
            embedder=snapshot.version.embedder,
            classifier=snapshot.version.classifier,
            stored=services.collections.images,
            reserve=memory_reserver(request),
        )
        try:
            (predictions,) = await cancel_on_disconnect(request, classification)
        except DiptychError as error:
            raise _renamed(error) from None
    return await sized_json_response(request, 2 * len(predictions), lambda: _labels(predictions))


@router.post(
    "/feature-extraction",
    summary="Embed as with Hugging Face",
    operation_id="huggingface_feature_extraction",
    response_model=FeatureExtractionResponse,
    responses=hugging_face_errors(*BODY_ERRORS),
    openapi_extra=request_body(FeatureExtractionRequest),
)
@needs("read")
async def feature_extraction(request: Request) -> Response:
    """Embed texts and images."""
    services, options = ready_services(request)
    context = context_of(request)
    with context.stage("parse"):
        body, items = await _read_json(request, options, partial(_features, limits=options.limits))
    with context.stage("work"), services.serving.use() as snapshot:
        dimensions = check_dimensions(snapshot.version.model, body.dimensions, "dimensions")
        embedding = embed_items(
            items,
            "inputs",
            image_urls=services.image_urls,
            embedder=snapshot.version.embedder,
            reserve=memory_reserver(request),
        )
        rows = await cancel_on_disconnect(request, embedding)
    if body.truncate is False:
        _require_whole(rows, snapshot.version.model.context_length)
    rows = shortened(rows, dimensions)
    return await sized_json_response(request, len(rows) * dimensions, lambda: _embeddings(body, rows))


async def _read_json(request: Request, options: HttpOptions, read: Callable[[bytearray], Read]) -> Read:
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    return await read_json(await read_body(request, options.body), read)


def _zero_shot(payload: bytearray, limits: Limits) -> ClassifyInput:
    data = parse_json(payload)
    parameters = data.get("parameters") if isinstance(data, dict) else None
    if isinstance(parameters, dict):
        labels = {"parameters.candidate_labels": parameters.get("candidate_labels")}
        check_lengths(labels, dict.fromkeys(labels, limits.max_labels))
    body = validated(ZeroShotImageRequest, data)
    inputs = body.inputs if isinstance(body.inputs, str) else body.inputs.image
    image = parse_image_string(inputs, "inputs", limits)
    chosen = body.parameters
    options = ClassifyOptions(labels=chosen.candidate_labels, template=chosen.hypothesis_template)
    try:
        check_options(options, 1, limits)
    except DiptychError as error:
        raise _renamed(error) from None
    return classify_input([image], options)


def _features(payload: bytearray, limits: Limits) -> tuple[FeatureExtractionRequest, Sequence[Item]]:
    data = check_lengths(parse_json(payload), {"inputs": limits.max_openai_inputs})
    body = validated(FeatureExtractionRequest, data)
    given = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    items = [parse_text_or_data_uri(one, f"inputs[{i}]", limits) for i, one in enumerate(given)]
    check_image_count(items, "inputs", limits)
    return body, items


def _renamed(error: DiptychError) -> DiptychError:
    """The error with the name that the request has for its item."""
    name, bracket, index = (error.item or "").partition("[")
    if name not in _NAMES:
        return error
    return error.named(f"{_NAMES[name]}{bracket}{index}" if name == "labels" else _NAMES[name])


def _require_whole(rows: Sequence[TextEmbedding], context_length: int) -> None:
    for i, row in enumerate(rows):
        if row.truncated:
            message = f"text is longer than the {context_length} tokens that the model reads"
            raise InvalidValue(f"{message}, and truncate is false", f"inputs[{i}]")


def _labels(predictions: Sequence[Prediction]) -> ZeroShotImageResponse:
    return ZeroShotImageResponse([HuggingFaceLabel(label=one.label, score=one.score) for one in predictions])


def _embeddings(body: FeatureExtractionRequest, rows: Sequence[TextEmbedding]) -> FeatureExtractionResponse:
    numbers = [row.embedding.tolist() for row in rows]
    return FeatureExtractionResponse(numbers[0] if isinstance(body.inputs, str) else numbers)
