"""`/collections/{collection}/label-sets/{label_set}`: images with their labels, and verdicts on them."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, Protocol, Self

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from starlette.responses import Response, StreamingResponse

from diptych.core.labels.label_set import NewVerdict, Statement, Verdict
from diptych.core.labels.ports import Given
from diptych.core.labels.service import LabelledImage, LabelPage, LabelQuery
from diptych.core.labels.view import Assignment
from diptych.core.types import ModelInfo
from diptych.http.access import GuardedRoute, caller_of, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.references import EXAMPLE_LINKS, EXAMPLE_MODEL, Links, ModelRef
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, Responses, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.limits import check_at_most, check_count, check_lengths
from diptych.http.parsing.request_models import FailFastList, NoQuery, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices

_LABEL = Field(None, description="only images with this label; empty: only those without a label")
_TEXTS: schemas.Schema = {"type": "array", "items": schemas.STRING, "uniqueItems": True}
_AFTER = Field(None, description="`next` of the page before")


class _ImagesParameters(RequestModel):
    """The query string of a list of images with labels."""

    label: str | None = _LABEL
    uncertain_first: bool = Field(
        False, description="images that nobody has reviewed, the smallest margin first, in place of all by id"
    )
    contested: bool = Field(
        False, description="only images whose label somebody has changed that another key gave"
    )
    after: str | None = _AFTER
    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))


ImagesQuery = Annotated[_ImagesParameters, Query()]


class _ExportParameters(RequestModel):
    """The query string of an export."""

    format: Literal["jsonl", "csv"] = Field("jsonl", description="one object, or one row of a label, a line")
    label: str | None = _LABEL


ExportQuery = Annotated[_ExportParameters, Query()]


class VerdictRequest(RequestModel):
    """What a person says of an image: its `label`, or its `labels`; null or an empty list: none of these."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["label"]}, {"required": ["labels"]}]}
    )

    id: str
    label: str | None = None
    labels: Annotated[FailFastList[str] | None, WithJsonSchema(_TEXTS)] = Field(
        None, description="for a set of kind many"
    )
    drawn: bool = Field(
        False, description="`drawn` of the proposal: only such verdicts estimate the accuracy of the model"
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="of what the person saw: an image that has other bytes now is left out, in `replaced`",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len({"label", "labels"} & self.model_fields_set) != 1:
            raise ValueError("needs exactly one of label, labels")
        if "labels" in self.model_fields_set and self.labels is None:
            raise ValueError("labels must be a list; an empty one means none of these")
        return self

    def verdict(self) -> NewVerdict:
        """The domain object."""
        labels = self.labels if self.labels is not None else [] if self.label is None else [self.label]
        return NewVerdict(self.id, tuple(labels), self.drawn, self.sha256)


class VerdictsRequest(RequestModel):
    """`POST` of verdicts, all or none of which are stored."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {"verdicts": [{"id": "cat", "label": "cat"}, {"id": "rocket", "label": None}]}
        )
    )

    verdicts: FailFastList[VerdictRequest] = Field(
        min_length=1, json_schema_extra=schemas.limited(maxItems="max_page_items")
    )


_STATEMENT = {"labels": ["cat"], "by": "tablet", "at": "2026-03-02T09:30:00.000+00:00"}
_VERDICT = {
    "labels": ["flower"],
    "by": "notebook",
    "at": "2026-03-02T09:31:00.000+00:00",
    "drawn": False,
    "before": _STATEMENT,
}


class StatementResponse(BaseModel):
    """What a person said of a picture. `by`: the name of the API key, "anyone" without keys."""

    model_config = ConfigDict(json_schema_extra=schemas.example(_STATEMENT))

    labels: list[str]
    by: str
    at: str = Field(description="ISO 8601, UTC")


class VerdictResponse(StatementResponse):
    """The statement on a picture that stands."""

    model_config = ConfigDict(json_schema_extra=schemas.example(_VERDICT))

    drawn: bool = Field(description="whether the picture was proposed at random")
    before: StatementResponse | None = Field(
        description="the statement of another key that it has changed, until another key says something; "
        "of a verdict that was withdrawn, the one that stands again"
    )

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictResponse":
        """Convert a verdict that stands, or stood."""
        return cls._with(verdict, verdict.disputed)

    @classmethod
    def of_withdrawn(cls, verdict: Verdict) -> "VerdictResponse":
        """Convert a verdict that was withdrawn."""
        return cls._with(verdict, verdict.former)

    @classmethod
    def _with(cls, verdict: Verdict, before: Statement | None) -> "VerdictResponse":
        said = before and StatementResponse(labels=list(before.labels), by=before.by, at=before.at)
        return cls(
            labels=list(verdict.labels), by=verdict.by, at=verdict.at, drawn=verdict.is_drawn, before=said
        )


class GivenVerdictResponse(BaseModel):
    """A verdict that was stored. `before`: the one that it replaces, null if there was none."""

    id: str
    labels: list[str]
    before: VerdictResponse | None


class VerdictsResponse(BaseModel):
    """Stored verdicts, in order. `unknown`: ids that no image of the collection has.

    `replaced`: ids of images that have other bytes than the `sha256` of their verdict, which was not stored.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "verdicts": [
                    {"id": "cat", "labels": ["cat"], "before": _VERDICT},
                    {"id": "rocket", "labels": [], "before": None},
                ],
                "unknown": [],
                "replaced": [],
            }
        )
    )

    verdicts: list[GivenVerdictResponse]
    unknown: list[str]
    replaced: list[str]

    @classmethod
    def of(cls, given: Given) -> "VerdictsResponse":
        """Convert the domain object."""
        verdicts = [
            GivenVerdictResponse(
                id=one.id, labels=list(one.labels), before=one.before and VerdictResponse.of(one.before)
            )
            for one in given.verdicts
        ]
        return cls(verdicts=verdicts, unknown=given.unknown, replaced=given.replaced)


class LabelledImageResponse(BaseModel):
    """The labels of an image, best first: a person's word, or else what the model proposes."""

    id: str
    labels: list[str]
    by: Literal["model", "person"]
    proposed: list[str] = Field(description="the labels that the model gives it")
    score: float = Field(description="of the best label by the model, whether proposed or not")
    margin: float = Field(
        description="how near it is to another answer of the model: the distance to the next best score or "
        "to `min_score`, whichever is smaller; for kind many the smallest distance of a score to `min_score`"
    )
    verdict: VerdictResponse | None = Field(description="null: nobody has reviewed it")
    links: Links

    @classmethod
    def of(cls, collection: str, image: LabelledImage) -> "LabelledImageResponse":
        """Convert the domain object."""
        return cls(**fields_of(collection, image.id, image.assignment))


def fields_of(collection: str, id: str, assignment: Assignment) -> dict[str, Any]:
    """The fields of `LabelledImageResponse`."""
    return {
        "id": id,
        "labels": list(assignment.labels),
        "by": "model" if assignment.verdict is None else "person",
        "proposed": list(assignment.proposed),
        "score": assignment.score,
        "margin": assignment.margin,
        "verdict": assignment.verdict and VerdictResponse.of(assignment.verdict),
        "links": Links.of(collection, id),
    }


class LabelledImagePage(BaseModel):
    """A page of images with their labels. `next` is the `after` of the next page; null on the last."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "model": EXAMPLE_MODEL,
                "images": [
                    {
                        "id": "cat",
                        "labels": ["cat"],
                        "by": "model",
                        "proposed": ["cat"],
                        "score": 0.97,
                        "margin": 0.94,
                        "verdict": None,
                        "links": EXAMPLE_LINKS,
                    }
                ],
                "next": "cat",
                "total": 1200,
            }
        )
    )

    model: ModelRef = Field(description="the version whose labels, scores and margins these are")
    images: list[LabelledImageResponse]
    next: str | None
    total: int = Field(description="images on all pages")


router = APIRouter(tags=["labels"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_SET = "/collections/{collection}/label-sets/{label_set}"
_JSON_LINES, _CSV = "application/jsonl", "text/csv"
_COLUMNS = ("score", "margin", "by", "drawn", "model", "version", "sha256")  # of CSV, after id and label
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SHA256 = "f0c2d4e6a8b19375c0d1e2f3a4b5968778695a4b3c2d1e0f9182736455463728"
_EXPORT: Responses = {
    200: {
        "content": {
            _JSON_LINES: {
                "schema": {"type": "string"},
                "example": '{"id":"cat","labels":["cat"],"by":"model","proposed":["cat"],"score":0.97,'
                '"margin":0.94,"drawn":false,"model":"everyday","version":1,'
                f'"sha256":"{_SHA256}"}}\n',
            },
            _CSV: {
                "schema": {"type": "string"},
                "example": "id,label,score,margin,by,drawn,model,version,sha256\n"
                f"cat,cat,0.97,0.94,model,false,everyday,1,{_SHA256}\n",
            },
        }
    }
}


@router.get(
    f"{_SET}/images",
    summary="List images with their labels",
    response_model=LabelledImagePage,
    responses=documented_errors(404, 409, 429),
)
@needs("read", collections="path")
async def list_labelled_images(
    request: Request, services: ReadyServices, collection: str, label_set: str, query: ImagesQuery
) -> Response:
    """List images with their labels, by id, or the most uncertain first.

    Images that have neither a vector of the version that serves nor a person's label are left out.
    """
    check_at_most(query.limit, "limit", services.limits.max_page_items)
    chosen = LabelQuery(query.label, query.contested, query.uncertain_first, query.after, query.limit)
    with context_of(request).stage("work"):
        listing = services.label_sets.images(collection, label_set, chosen)
        page = await cancel_on_disconnect(request, listing)
    return json_response(
        request,
        LabelledImagePage(
            model=ModelRef.of(page.model),
            images=[LabelledImageResponse.of(collection, one) for one in page.images],
            next=page.next,
            total=page.total,
        ),
    )


@router.get(
    f"{_SET}/export",
    summary="Export labels",
    response_class=StreamingResponse,
    responses=_EXPORT | documented_errors(404, 409, 429),
)
@needs("read", collections="path")
async def export_labels(
    request: Request, services: ReadyServices, collection: str, label_set: str, query: ExportQuery
) -> Response:
    """All images with their labels, by id, as JSON Lines or CSV.

    A row of CSV is one label of one image; the row of an image without a label has an empty one. The
    `score` of a row is that of its label; where the model does not give that, of the best label, as in JSON
    Lines.
    """
    pages = services.label_sets.export(collection, label_set, LabelQuery(query.label))
    kind = _JSON_LINES if query.format == "jsonl" else _CSV
    with context_of(request).stage("work"):
        first = await cancel_on_disconnect(request, anext(pages))  # its errors come before the answer
    if request.method == "HEAD":
        return Response(media_type=kind)
    write = _json_lines if query.format == "jsonl" else _rows
    return StreamingResponse(_stream(first, pages, write), media_type=kind)


@router.post(
    f"{_SET}/verdicts",
    summary="Store verdicts",
    response_model=VerdictsResponse,
    responses=documented_errors(404, 507, *BODY_ERRORS),
    openapi_extra=request_body(VerdictsRequest),
)
@needs("write", collections="path")
async def give_verdicts(
    request: Request, services: ReadyServices, options: Options, collection: str, label_set: str, _: NoQuery
) -> Response:
    """Store what a person says of images. From then on these are their labels, whatever serves.

    A verdict belongs to the bytes of the picture: copies share it, and an image that is replaced loses it.
    The later word stands; the answer has the one before.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    limit = options.limits.max_page_items
    data = check_lengths(parse_json(await read_body(request, options.body)), {"verdicts": limit})
    body = validated(VerdictsRequest, data)
    check_count(body.verdicts, "verdicts", limit)
    verdicts = [one.verdict() for one in body.verdicts]
    given = await services.label_sets.give(collection, label_set, verdicts, caller_of(request).name)
    return json_response(request, VerdictsResponse.of(given))


@router.delete(
    f"{_SET}/verdicts/{{id}}",
    summary="Withdraw a verdict",
    response_model=VerdictResponse,
    responses=documented_errors(404, 507),
)
@needs("write", collections="path")
async def withdraw_verdict(
    request: Request, services: ReadyServices, collection: str, label_set: str, id: str, _: NoQuery
) -> Response:
    """Withdraw the verdict on an image, and answer it.

    Where another key had said something before (`before` of the answer), that stands again, as it stood;
    else the image has the labels of the model again.
    """
    verdict = await services.label_sets.withdraw(collection, label_set, id)
    return json_response(request, VerdictResponse.of_withdrawn(verdict))


def _exported(image: LabelledImage, model: ModelInfo) -> dict[str, Any]:
    """A line of the export as JSON Lines."""
    found = image.assignment
    return {
        "id": image.id,
        "labels": found.labels,
        "by": "model" if found.verdict is None else "person",
        "proposed": found.proposed,
        "score": found.score,
        "margin": found.margin,
        "drawn": found.verdict is not None and found.verdict.is_drawn,
        "model": model.name,
        "version": model.version,
        "sha256": image.sha256,
    }


def _json_lines(page: LabelPage, *, is_first: bool) -> str:
    return "".join(f"{_encode(_exported(image, page.model))}\n" for image in page.images)


def _rows(page: LabelPage, *, is_first: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if is_first:
        writer.writerow(["id", "label", *_COLUMNS])
    for image in page.images:
        one, found = _exported(image, page.model), image.assignment
        _, *others = (str(one[name]).lower() if name == "drawn" else one[name] for name in _COLUMNS)
        scores = dict(zip(found.proposed, found.scores, strict=True))
        for label in found.labels or [""]:
            writer.writerow([image.id, label, scores.get(label, found.score), *others])
    return text.getvalue()


class _Write(Protocol):
    """Writes a page of images as text; `is_first`: nothing was written before."""

    def __call__(self, page: LabelPage, *, is_first: bool) -> str: ...


async def _stream(first: LabelPage, pages: AsyncIterator[LabelPage], write: _Write) -> AsyncIterator[str]:
    def text_of(page: LabelPage) -> str:
        return write(page, is_first=page is first)

    yield await asyncio.to_thread(text_of, first)
    async for page in pages:
        yield await asyncio.to_thread(text_of, page)
