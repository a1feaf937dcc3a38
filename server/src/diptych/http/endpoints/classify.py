"""`/classify`: images against any labels."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.core.classification.classify import classify_images
from diptych.core.services import Services
from diptych.core.types import Prediction
from diptych.http.answers import ClassifiedImage, ClassifyResponse, PredictionResponse
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.classify_body import read_classify
from diptych.http.context import context_of
from diptych.http.description import body_of
from diptych.http.endpoints.references import ModelRef
from diptych.http.errors.documented_errors import BODY, GUARDED, refusals
from diptych.http.middleware.body_budget import room_of
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import NoQuery
from diptych.http.requests import ClassifyRequest
from diptych.http.respond import sized_json_response
from diptych.http.state import at_work

router = APIRouter(tags=["encode"], responses=refusals(*GUARDED))
_FORM = schemas.form(
    {
        "image": schemas.some(schemas.FILE, limit="max_items"),
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
    **schemas.ONE_KIND_OF_TEMPLATES,
)


@router.post(
    "/classify",
    response_model=ClassifyResponse,
    responses=refusals(*BODY),
    openapi_extra=body_of(ClassifyRequest, _FORM),
)
async def classify(request: Request, _: NoQuery) -> Response:
    """Zero-shot predictions: which of the labels goes with each image, best first.

    Scores are a softmax over the given labels, or with `multi_label` a probability of each label alone.
    """
    services, options = at_work(request)
    context = context_of(request)
    with context.stage("parse"):
        asked = await read_classify(request, options)
    with context.stage("work"):
        classification = classify_images(
            asked,
            image_urls=services.image_urls,
            embedder=services.embedder,
            classifier=services.classifier,
            reserve=room_of(request),
        )
        predictions = await while_connected(request, classification)
    n_values = 4 * sum(map(len, predictions))
    return await sized_json_response(request, n_values, lambda: _answer(services, predictions))


def _answer(services: Services, predictions: list[list[Prediction]]) -> ClassifyResponse:
    data = [
        ClassifiedImage(index=i, predictions=[PredictionResponse(**vars(one)) for one in of_image])
        for i, of_image in enumerate(predictions)
    ]
    return ClassifyResponse(model=ModelRef.of(services.model), data=data)
