"""`GET /collections/{collection}/label-sets/{label_set}/proposals`: the images to review next."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diptych.core.labels.review import Proposal, Proposals
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.endpoints.label_images import LabelledImageResponse, fields_of
from diptych.http.endpoints.references import EXAMPLE_LINKS, EXAMPLE_MODEL, ModelRef
from diptych.http.errors.documented_errors import COMMON_ERRORS, documented_errors
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import RequestModel
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices


class _ProposalsParameters(RequestModel):
    """The query string of proposals."""

    limit: int = Field(20, ge=1, le=100)


ProposalsQuery = Annotated[_ProposalsParameters, Query()]


class ProposalResponse(LabelledImageResponse):
    """An image to review."""

    sha256: str = Field(description="of its bytes: send it with the verdict")
    drawn: bool = Field(description="whether it was drawn at random: send it with the verdict")
    none: bool = Field(
        description="a hint that perhaps none of the labels fits: the relevance of the best one, in a search "
        "of this image alone, is below 0.1; false where the version is not calibrated"
    )

    @classmethod
    def of_proposal(cls, collection: str, image: Proposal) -> "ProposalResponse":
        """Convert the domain object."""
        return cls(
            **fields_of(collection, image.id, image.assignment),
            sha256=image.sha256,
            drawn=image.is_drawn,
            none=image.fits_none,
        )


class ProposalsResponse(BaseModel):
    """Images to review next, in order. `revision` of the label set and `model` made the labels."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "model": EXAMPLE_MODEL,
                "revision": 2,
                "images": [
                    {
                        "id": "cat",
                        "labels": ["cat"],
                        "by": "model",
                        "proposed": ["cat"],
                        "score": 0.47,
                        "margin": 0.04,
                        "verdict": None,
                        "links": EXAMPLE_LINKS,
                        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                        "drawn": False,
                        "none": False,
                    }
                ],
                "n_unreviewed": 1160,
            }
        )
    )

    model: ModelRef
    revision: int
    images: list[ProposalResponse]
    n_unreviewed: int

    @classmethod
    def of(cls, collection: str, found: Proposals) -> "ProposalsResponse":
        """Convert the domain object."""
        return cls(
            model=ModelRef.of(found.model),
            revision=found.label_set.revision,
            images=[ProposalResponse.of_proposal(collection, one) for one in found.images],
            n_unreviewed=found.n_unreviewed,
        )


router = APIRouter(tags=["labels"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)


@router.get(
    "/collections/{collection}/label-sets/{label_set}/proposals",
    summary="Propose images for review",
    response_model=ProposalsResponse,
    responses=documented_errors(404, 409, 429),
)
@needs("read", collections="path")
async def propose_images(
    request: Request, services: ReadyServices, collection: str, label_set: str, query: ProposalsQuery
) -> Response:
    """The images to review next: of each five, the four with the smallest margin, and one drawn at random.

    Of near duplicates only one is among them. The same images are proposed until somebody says what they are.
    """
    with context_of(request).stage("work"):
        proposing = services.label_sets.proposals(collection, label_set, query.limit)
        found = await cancel_on_disconnect(request, proposing)
    return json_response(request, ProposalsResponse.of(collection, found))
