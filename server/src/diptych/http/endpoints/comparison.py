"""`.../comparison`: what searches find with the vectors of two versions of a model."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diptych.core.rollout.comparison import Comparison
from diptych.core.services import Services
from diptych.errors import Conflict, InvalidValue, NotFound
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.errors.documented_errors import COMMON_ERRORS, documented_errors
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import RequestModel
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices

_SHARE = "share from 0 to 1"


class _ComparisonParameters(RequestModel):
    """`GET .../comparison`."""

    against: int | None = Field(
        None, ge=1, description="the old version; if left out, the active version of the server"
    )
    against_model: str | None = Field(None, description="the name of the old version, if it is another one")
    collection: str | None = Field(None, description="if left out, all that have vectors of both")


ComparisonQuery = Annotated[_ComparisonParameters, Query()]


class ComparedVectorsResponse(BaseModel):
    """The version and precision of one side, proven on this machine with its golden outputs."""

    model: str
    version: int
    precision: str
    golden_cosine_min: float = Field(
        description="the golden outputs are reproduced with at least this cosine: others are never loaded"
    )


class ChangedQueryResponse(BaseModel):
    """A query, and the ids of the first ten images with the old and the new vectors."""

    text: str | None = Field(description="null for a query by an image")
    id: str | None = Field(description="of the image that was searched with; null for a text")
    overlap: float = Field(description="share of the ten that both find")
    old: list[str]
    new: list[str]


class ComparedLabelsResponse(BaseModel):
    """On how many reviewed images of a label set both versions agree with people."""

    label_set: str
    n: int = Field(description="reviewed images that have vectors of both")
    n_agree_old: int
    n_agree_new: int
    n_gained: int = Field(description="images on which the new version alone agrees")
    n_lost: int = Field(description="images on which the old version alone agrees")
    agrees_less: bool = Field(
        description="more are lost than chance explains: one-sided sign test at 5%. A rollout fails by it, "
        "unless one to this version has failed by it before"
    )


class CollectionComparisonResponse(BaseModel):
    """What changes in one collection."""

    collection: str
    n_images: int
    coverage: float = Field(
        description="of the images that the old vectors find, those that have new ones: " + _SHARE
    )
    old: ComparedVectorsResponse | None = Field(description="null if nothing served yet")
    new: ComparedVectorsResponse
    n_queries: int = Field(description="sampled images, and their names")
    overlap_at_10: float | None = Field(description="mean over all queries; null without any")
    changed: list[ChangedQueryResponse] = Field(description="queries that change most, these first")
    labels: list[ComparedLabelsResponse] = Field([], description="label sets with reviewed images, by name")


_EXAMPLE_SIDE = {"model": "mine", "version": 3, "precision": "fp32", "golden_cosine_min": 0.9999}
EXAMPLE_COMPARISON = {
    "collections": [
        {
            "collection": "gallery",
            "n_images": 1200,
            "coverage": 1.0,
            "old": _EXAMPLE_SIDE,
            "new": {**_EXAMPLE_SIDE, "version": 4},
            "n_queries": 200,
            "overlap_at_10": 0.87,
            "changed": [
                {
                    "text": "a black cat",
                    "id": None,
                    "overlap": 0.5,
                    "old": ["cat", "rocket"],
                    "new": ["cat", "kitten"],
                }
            ],
            "labels": [
                {
                    "label_set": "kind",
                    "n": 200,
                    "n_agree_old": 180,
                    "n_agree_new": 186,
                    "n_gained": 9,
                    "n_lost": 3,
                    "agrees_less": False,
                }
            ],
        }
    ],
    "unmet": [],
}


class ComparisonResponse(BaseModel):
    """A comparison of two kinds of vectors."""

    model_config = ConfigDict(json_schema_extra=schemas.example(EXAMPLE_COMPARISON))

    collections: list[CollectionComparisonResponse]
    unmet: list[str] = Field(description="why the switch is refused, with figure and bound")

    @classmethod
    def of(cls, comparison: Comparison) -> "ComparisonResponse":
        """Convert the domain object."""
        return cls.model_validate(comparison.as_json())

    def without_queries(self) -> "ComparisonResponse":
        """The figures alone, for lists."""
        found = [one.model_copy(update={"changed": []}) for one in self.collections]
        return self.model_copy(update={"collections": found})


router = APIRouter(tags=["models"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)


@router.get(
    "/models/{name}/versions/{version}/comparison",
    summary="Compare two versions by their searches",
    response_model=ComparisonResponse,
    responses=documented_errors(404, 409, 422),
)
@needs("admin", collections="all")
async def compare_versions(
    request: Request, services: ReadyServices, name: str, version: int, parameters: ComparisonQuery
) -> Response:
    """Compare the searches of a version with those of an older one, in collections with vectors of both.

    These are the version that serves, the one before if it is kept, and the one of the rollout under way: 409
    for others. It takes seconds.
    """
    old, new = _old_version(services, name, parameters), (name, version)
    with context_of(request).stage("work"):
        try:
            found = await cancel_on_disconnect(
                request, services.comparer.versions(old, new, parameters.collection)
            )
        except Conflict:
            for one in (old, new):
                await _require_known(services, one)
            raise
    return json_response(request, ComparisonResponse.of(found))


def _old_version(services: Services, name: str, parameters: _ComparisonParameters) -> tuple[str, int]:
    if parameters.against is not None:
        return parameters.against_model or name, parameters.against
    if parameters.against_model is not None:
        raise InvalidValue("needs `against`, the version of that model", "against_model")
    active = services.serving.current.version.ref
    return active.name, active.version


async def _require_known(services: Services, version: tuple[str, int]) -> None:
    """Raise NotFound unless the model repository has the version."""
    name, number = version
    if number not in {entry.version for entry in await services.catalogue.versions(name)}:
        raise NotFound(f"model {name!r} has no version {number}")
