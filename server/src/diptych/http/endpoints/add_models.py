"""Models and helpers that adding images and adding vectors share: query string, items and outcomes."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from diptych.core.types import (
    Added,
    AddOutcome,
    AddStatus,
)
from diptych.errors import InvalidValue
from diptych.http.context import context_of
from diptych.http.endpoints.references import EXAMPLE_MODEL, ModelRef
from diptych.http.errors.problem_json import Problem, problem_of, respond_error
from diptych.http.errors.validation import validated
from diptych.http.parsing import schemas
from diptych.http.parsing.form import Form
from diptych.http.parsing.limits import check_lengths
from diptych.http.parsing.request_models import METADATA_RULES, FailFastList, ImageId, RequestModel
from diptych.http.respond import sized_json_response
from diptych.http.state import state_of

METADATA_DIFFERS = Field(
    description="whether an `unchanged` image lacks metadata that was given, which replace=true would store; "
    "`file` does not count"
)
_EXAMPLE_OUTCOME = {"index": 0, "id": "cat", "status": "created", "error": None, "metadata_differs": False}
EXAMPLE_ITEMS = [{"id": "cat", "metadata": {"title": "cat", "year": 2001}}]


class _AddParameters(RequestModel):
    """The query string of `POST` of images or vectors."""

    replace: bool = False


AddQuery = Annotated[_AddParameters, Query()]


class AddItem(RequestModel):
    """One entry of the `items` field of an add."""

    id: ImageId | None = None
    metadata: dict[str, Any] | None = Field(None, description=METADATA_RULES)


class AddItems(RequestModel):
    """The `items` field of an add, in the order of its `image` parts."""

    items: FailFastList[AddItem]


class AddOutcomeResponse(BaseModel):
    """The outcome of one image. It is durable and searchable unless `failed`; then `error` says why."""

    index: int
    id: str | None
    status: AddStatus
    error: Problem | None
    metadata_differs: bool = METADATA_DIFFERS


class AddResponse(BaseModel):
    """One outcome per image, in the order of the request."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "model": EXAMPLE_MODEL,
                "collection": "gallery",
                "outcomes": [_EXAMPLE_OUTCOME],
            }
        )
    )

    model: ModelRef
    collection: str
    outcomes: list[AddOutcomeResponse]


_N_VALUES = 6  # JSON values in one outcome


def read_items(form: Form, n_rows: int, rows: str, limit: int) -> Sequence[AddItem]:
    """The `items` field of a form: one entry for each of the `n_rows` images or embeddings.

    Without the field, the entries are empty. InvalidValue names `items` when their number differs; `rows` is
    the noun of its message.
    """
    given = form.json("items")
    if given is None:
        return [AddItem()] * n_rows
    items = validated(AddItems, check_lengths({"items": given}, {"items": limit})).items
    if len(items) != n_rows:
        raise InvalidValue(f"has {len(items)} entries for {n_rows} {rows}", "items")
    return items


async def respond_add(request: Request, added: Added, collection: str, item: str) -> Response:
    """A response with one outcome per item. If there is only one and it failed, its error is the response.

    `item` is the name of that item in the error, if the error does not name a part of it.
    """
    outcomes = added.outcomes
    state_of(request).count_disk_errors(*(outcome.error for outcome in outcomes))
    if len(outcomes) == 1 and outcomes[0].error is not None:
        error = outcomes[0].error
        return respond_error(request, error.named(f"items[0].{error.item}" if error.item else item))
    request_id = context_of(request).request_id

    def content() -> AddResponse:
        rows = [_outcome_response(outcome, request_id) for outcome in outcomes]
        return AddResponse(model=ModelRef.of(added.model), collection=collection, outcomes=rows)

    return await sized_json_response(request, len(outcomes) * _N_VALUES, content)


def _outcome_response(outcome: AddOutcome, request_id: str) -> AddOutcomeResponse:
    """Convert one outcome; its error becomes a problem."""
    problem = None if outcome.error is None else problem_of(outcome.error, request_id)
    return AddOutcomeResponse(**vars(outcome) | {"error": problem})
