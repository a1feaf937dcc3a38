"""`/collections/{collection}/label-sets`: define, list, get and delete label sets."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from diptych.core.labels.agreement import Share
from diptych.core.labels.label_set import MAX_TEXTS, Definition, Label, LabelSet
from diptych.core.labels.service import LabelSetReport, PutLabelSet
from diptych.core.labels.threshold import Threshold
from diptych.core.limits import Limits
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.classify import Templates, TemplateSet
from diptych.http.endpoints.references import EXAMPLE_MODEL, ModelRef
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.limits import check_lengths
from diptych.http.parsing.request_models import FailFastList, NoQuery, RequestModel
from diptych.http.respond import json_response, sized_json_response
from diptych.http.state import Options, ReadyServices

Text = Annotated[str, WithJsonSchema(schemas.LABEL_OF_SET)]


class LabelRequest(RequestModel):
    """A label, and further words for the same thing: its embedding is the mean of all of them."""

    label: Text
    words: FailFastList[Text] = Field([], json_schema_extra={"uniqueItems": True})


_BOTH: dict[str, schemas.Schema] = {name: {"type": "number"} for name in ("min_score", "precision")}


def _as_label(label: object) -> object:
    return {"label": label} if isinstance(label, str) else label


class LabelSetRequest(RequestModel):
    """`PUT` of a label set: its whole definition."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {"labels": ["indoors", "people"], "kind": "many", "templates": ["a photo, {}."]},
            {"labels": ["cat", {"label": "rocket", "words": ["spaceship"]}, "flower"], "min_score": 0.4},
        )
        | {"not": {"required": list(_BOTH), "properties": _BOTH}}
    )

    labels: FailFastList[
        Annotated[LabelRequest, BeforeValidator(_as_label, json_schema_input_type=Text | LabelRequest)]
    ] = Field(
        min_length=1,
        json_schema_extra={"maxItems": MAX_TEXTS, "uniqueItems": True},
        description="texts, or objects with further words",
    )
    kind: Literal["one", "many"] = Field(
        "one", description="whether an image has one label, as in /classify, or many, as with `multi_label`"
    )
    templates: Templates | TemplateSet | None = Field(
        None, description="several, or the name of a set, as in /classify"
    )
    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="an image has no label with a lower score; without it 0.5 for many, and 0 for one",
    )
    precision: float | None = Field(
        None,
        ge=0.5,
        le=0.999,
        description="in place of `min_score`: the least score is fitted so that this share of the labels is "
        "right, for each version, to the verdicts on at least 20 pictures that were drawn at random",
    )
    drop_verdicts: bool = Field(
        False, description="delete verdicts that the new definition does not allow, in place of a 409"
    )

    def definition(self) -> Definition:
        """The domain object."""
        templates = self.templates if self.templates is not None else Definition.templates
        return Definition(
            labels=tuple(Label(one.label, tuple(one.words)) for one in self.labels),
            kind=self.kind,
            templates=templates if isinstance(templates, str) else tuple(templates),
            min_score=self.min_score,
            precision=self.precision,
        )


_SET = {
    "name": "kind",
    "labels": [
        {"label": "cat", "words": []},
        {"label": "rocket", "words": ["spaceship"]},
        {"label": "flower", "words": []},
    ],
    "kind": "one",
    "templates": "default",
    "min_score": 0.4,
    "precision": None,
    "revision": 2,
    "changed_at": "2026-03-02T09:30:00.000+00:00",
}


class LabelResponse(BaseModel):
    """A label with its further words."""

    label: str
    words: list[str]


class LabelSetResponse(BaseModel):
    """A label set. `revision` is raised by each change."""

    model_config = ConfigDict(json_schema_extra=schemas.example(_SET))

    name: str
    labels: list[LabelResponse]
    kind: Literal["one", "many"]
    templates: list[str] | str
    min_score: float | None
    precision: float | None
    revision: int
    changed_at: str = Field(description="ISO 8601, UTC")

    @classmethod
    def of(cls, label_set: LabelSet) -> "LabelSetResponse":
        """Convert the domain object."""
        return cls(**_fields(label_set))


class LabelSetList(BaseModel):
    """The label sets of a collection, by name."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"label_sets": [_SET]}))

    label_sets: list[LabelSetResponse]


class AlikeResponse(BaseModel):
    """Two labels that the text encoder hardly separates: the cosine of their embeddings is above 0.98."""

    labels: list[str] = Field(min_length=2, max_length=2)
    cosine: float


class PutLabelSetResponse(LabelSetResponse):
    """A label set that was created or changed."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {**_SET, "alike": [{"labels": ["rocket", "flower"], "cosine": 0.983}], "n_dropped": 0}
        )
    )

    alike: list[AlikeResponse] = Field(description="pairs of labels that are hardly separated, at most 100")
    n_dropped: int = Field(
        description="verdicts that were deleted, with `drop_verdicts`: one a picture, those on pictures that "
        "no image has now included"
    )

    @classmethod
    def of_put(cls, put: PutLabelSet) -> "PutLabelSetResponse":
        """Convert the domain object."""
        alike = [AlikeResponse(labels=list(one.labels), cosine=one.cosine) for one in put.alike]
        return cls(**_fields(put.label_set), alike=alike, n_dropped=put.n_dropped)


class ShareResponse(BaseModel):
    """How many of `n` agree, and a 95% interval of their share (Wilson); null if `n` is 0."""

    n: int
    n_agree: int
    interval: list[float] | None = Field(description="its lower and upper bound")


class LabelAgreementResponse(ShareResponse):
    """The images to which people gave a label, and to how many of them the model gives it."""

    label: str


class ConfusionResponse(BaseModel):
    """Images to which people gave `label` and the model `proposed`; null: no label, or none in its place."""

    label: str | None
    proposed: str | None
    n: int


_UNLABELLED = Field(
    description="more pictures, to which people gave a label and the model none, as none scores enough: "
    "neither right nor wrong, so that `n` leaves them out"
)


class AgreementResponse(ShareResponse):
    """How far the model agrees with people, on the pictures that were reviewed.

    Images with the same bytes are one picture.
    """

    n_unlabelled: int = _UNLABELLED
    labels: list[LabelAgreementResponse] = Field(
        description="those that people gave, in the order of the set"
    )
    confusions: list[ConfusionResponse] = Field(description="the most frequent first, at most 100")


class AccuracyResponse(ShareResponse):
    """How often the model is right, by the pictures alone that were drawn at random for review."""

    n_unlabelled: int = _UNLABELLED
    labels: list[LabelAgreementResponse] = Field(
        description="those that people gave to at least 10 of these pictures, in the order of the set"
    )


class ThresholdResponse(BaseModel):
    """The least score of a label of an image.

    `fitted_on`: drawn pictures to which it was fitted; 0: it was not, and `precision` is null. That is null,
    too, where no score reaches the precision: `min_score` is above all scores then, and no image has a label.
    """

    min_score: float
    fitted_on: int
    precision: float | None = Field(description="the share of the labels of these pictures that is right")
    interval: list[float] | None = Field(description="95% of that share (Wilson)")

    @classmethod
    def of(cls, threshold: Threshold) -> "ThresholdResponse":
        """Convert the domain object."""
        right = threshold.right
        return cls(
            min_score=threshold.min_score,
            fitted_on=threshold.fitted_on,
            precision=right.n_agree / right.n if right.n else None,
            interval=right.interval and list(right.interval),
        )


class LabelCountResponse(BaseModel):
    """How many images have a label."""

    label: str
    n: int


class LabelSetReportResponse(LabelSetResponse):
    """A label set, and its labels of images that have a vector of the serving version or a verdict."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                **_SET,
                "model": EXAMPLE_MODEL,
                "n_images": 1200,
                "n_reviewed": 42,
                "n_lapsed": 2,
                "n_contested": 1,
                "counts": [
                    {"label": "cat", "n": 700},
                    {"label": "rocket", "n": 80},
                    {"label": "flower", "n": 390},
                ],
                "n_without_label": 30,
                "agreement": {
                    "n": 40,
                    "n_agree": 37,
                    "interval": [0.801, 0.974],
                    "n_unlabelled": 2,
                    "labels": [{"label": "cat", "n": 40, "n_agree": 37, "interval": [0.801, 0.974]}],
                    "confusions": [{"label": "cat", "proposed": "flower", "n": 3}],
                },
                "accuracy": {"n": 8, "n_agree": 8, "interval": [0.676, 1.0], "n_unlabelled": 0, "labels": []},
                "threshold": {"min_score": 0.4, "fitted_on": 0, "precision": None, "interval": None},
            }
        )
    )

    model: ModelRef
    n_images: int
    n_reviewed: int = Field(description="images whose labels are a person's word")
    n_lapsed: int = Field(
        description="verdicts on pictures that no image has now, as it was replaced or deleted: they count "
        "again when the picture comes back"
    )
    n_contested: int = Field(
        description="images whose label somebody has changed that another key gave, until another key says "
        "something"
    )
    counts: list[LabelCountResponse] = Field(description="images of each label, in the order of the set")
    n_without_label: int
    agreement: AgreementResponse
    accuracy: AccuracyResponse
    threshold: ThresholdResponse

    @classmethod
    def of_report(cls, report: LabelSetReport) -> "LabelSetReportResponse":
        """Convert the domain object."""
        names, agreement, accuracy = report.label_set.definition.names, report.agreement, report.accuracy
        return cls(
            **_fields(report.label_set),
            model=ModelRef.of(report.model),
            n_images=report.n_images,
            n_reviewed=report.n_reviewed,
            n_lapsed=report.n_lapsed,
            n_contested=report.n_contested,
            counts=[
                LabelCountResponse(label=name, n=n) for name, n in zip(names, report.counts, strict=True)
            ],
            n_without_label=report.n_without_label,
            agreement=AgreementResponse(
                **_share(agreement.images),
                n_unlabelled=agreement.n_unlabelled,
                labels=_by_label(names, agreement.labels),
                confusions=[ConfusionResponse(**vars(one)) for one in agreement.confusions],
            ),
            threshold=ThresholdResponse.of(report.threshold),
            accuracy=AccuracyResponse(
                **_share(accuracy.images),
                n_unlabelled=accuracy.n_unlabelled,
                labels=_by_label(names, accuracy.labels),
            ),
        )


router = APIRouter(tags=["labels"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_SETS = "/collections/{collection}/label-sets"
_ONE = f"{_SETS}/{{label_set}}"


@router.get(_SETS, summary="List label sets", response_model=LabelSetList, responses=documented_errors(404))
@needs("read", collections="path")
async def list_label_sets(request: Request, services: ReadyServices, collection: str, _: NoQuery) -> Response:
    """List the label sets of a collection, by name."""
    found = await services.label_sets.list(collection)
    n_values = sum(len(one.definition.labels) for one in found)
    return await sized_json_response(
        request, n_values, lambda: LabelSetList(label_sets=list(map(LabelSetResponse.of, found)))
    )


@router.put(
    _ONE,
    summary="Define a label set",
    response_model=PutLabelSetResponse,
    responses=documented_errors(404, 409, 507, *BODY_ERRORS),
    openapi_extra=request_body(LabelSetRequest),
)
@needs("write", collections="path")
async def put_label_set(
    request: Request, services: ReadyServices, options: Options, collection: str, label_set: str, _: NoQuery
) -> Response:
    """Create a label set, or change its definition. All images have its labels from then on.

    Verdicts stay. 409 if some have labels that an image could not have any more, unless `drop_verdicts`.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = await read_json(await read_body(request, options.body), lambda data: _parsed(data, options.limits))
    with context_of(request).stage("work"):
        putting = services.label_sets.put(collection, label_set, body.definition(), drops=body.drop_verdicts)
        put = await cancel_on_disconnect(request, putting)
    return json_response(request, PutLabelSetResponse.of_put(put))


@router.get(
    _ONE,
    summary="Get a label set",
    response_model=LabelSetReportResponse,
    responses=documented_errors(404, 409, 429),
)
@needs("read", collections="path")
async def get_label_set(
    request: Request, services: ReadyServices, collection: str, label_set: str, _: NoQuery
) -> Response:
    """A label set: how many images have each label, and how far the model agrees with people."""
    with context_of(request).stage("work"):
        report = await cancel_on_disconnect(request, services.label_sets.report(collection, label_set))
    return json_response(request, LabelSetReportResponse.of_report(report))


@router.delete(_ONE, summary="Delete a label set", status_code=204, responses=documented_errors(404, 507))
@needs("write", collections="path")
async def drop_label_set(services: ReadyServices, collection: str, label_set: str, _: NoQuery) -> Response:
    """Delete a label set with its verdicts."""
    await services.label_sets.drop(collection, label_set)
    return Response(status_code=204)


def _parsed(data: bytearray, limits: Limits) -> LabelSetRequest:
    lengths = {"labels": limits.max_labels, "templates": limits.max_templates}
    return validated(LabelSetRequest, check_lengths(parse_json(data), lengths))


def _fields(label_set: LabelSet) -> dict[str, object]:
    definition = label_set.definition
    return {
        "name": label_set.name,
        "labels": [LabelResponse(label=one.label, words=list(one.words)) for one in definition.labels],
        "kind": definition.kind,
        "templates": definition.templates,
        "min_score": definition.min_score,
        "precision": definition.precision,
        "revision": label_set.revision,
        "changed_at": label_set.changed_at,
    }


def _by_label(names: list[str], shares: Mapping[str, Share]) -> list[LabelAgreementResponse]:
    return [LabelAgreementResponse(label=name, **_share(shares[name])) for name in names if name in shares]


def _share(share: Share) -> dict[str, object]:
    return {"n": share.n, "n_agree": share.n_agree, "interval": share.interval and list(share.interval)}
