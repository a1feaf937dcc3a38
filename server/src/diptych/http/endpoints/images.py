"""`/collections/{collection}/images`: add, list, get, change and delete the images of a collection."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.core.job import Job
from diptych.core.jobs.service import Jobs
from diptych.core.types import NewImage
from diptych.http.add_body import LongAdd, read_add
from diptych.http.answers_collections import AddResponse, FoundImages, ImagePage, ImageResponse
from diptych.http.answers_jobs import JobResponse
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import body_of
from diptych.http.errors.documented_errors import BODY, GUARDED, Responses, refusals
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MERGE_PATCH, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.outcomes import respond_outcomes
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.limits import check_at_most, check_lengths
from diptych.http.requests import AddQuery, ImagesQuery, LookupRequest, NoQuery, PatchRequest
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices
from diptych.http.tar_body import TAR, read_tar

router = APIRouter(tags=["collections"], responses=refusals(*GUARDED))

_IMAGES = "/collections/{collection}/images"
_IMAGE = f"{_IMAGES}/{{id}}"
_ACCEPTED: Responses = {202: {"model": JobResponse, "description": "A job was made of it, see `/jobs`"}}
_FORM = schemas.form(
    {
        "image": schemas.some(schemas.FILE, limit="max_job_items"),
        "items": schemas.json_field(
            schemas.some(schemas.ref("AddItem"), limit="max_job_items"),
            "{id, metadata} of each image, in their order",
        ),
    },
    required=("image",),
)


@router.post(
    _IMAGES,
    response_model=AddResponse,
    responses=refusals(404, 409, 507, *BODY) | _ACCEPTED,
    openapi_extra=body_of(form=_FORM, raw=(TAR,)),
)
async def add_images(
    request: Request, services: ReadyServices, options: Options, collection: str, query: AddQuery
) -> Response:
    """Add images; each is durable and searchable when its outcome says created, unchanged or replaced.

    An image without an id gets the first 32 hex digits of its sha256. An id that is taken by other bytes
    is a conflict unless `replace=true`. The failure of an only image is the answer itself, such as a 409.

    More than 64 images, a body of over 100 MB and a tar archive become a job (202): see `/jobs`. In an
    archive, `cat.json` beside `cat.jpg` may hold its {id, metadata}.
    """
    services.collections.require_served(collection)  # before a body of gigabytes comes in
    context = context_of(request)
    async with AsyncExitStack() as stack:
        with context.stage("parse"):
            images = await _read(request, options, services.jobs, stack)
        if isinstance(images, LongAdd):
            job = await services.jobs.submit(
                images.job_input, collection, images.items, replace=query.replace
            )
            return _accepted(request, job)
    with context.stage("work"):
        adding = services.collections.add_many(collection, images, replace=query.replace)
        added = await while_connected(request, adding)  # what is being written is, even so
    return await respond_outcomes(request, added, collection, "images[0]")


@router.get(_IMAGES, response_model=ImagePage, responses=refusals(404, 422))
async def list_images(
    request: Request, services: ReadyServices, options: Options, collection: str, query: ImagesQuery
) -> Response:
    """Images in the order of their ids; `next` of the answer is the `after` of the following page."""
    check_at_most(query.limit, "limit", options.limits.max_page_items)
    records, following = await services.collections.list_images(collection, query.after, query.limit)
    return json_response(request, ImagePage(images=list(map(ImageResponse.of, records)), next=following))


@router.post(
    "/collections/{collection}/lookups",
    response_model=FoundImages,
    responses=refusals(404, *BODY),
    openapi_extra=body_of(LookupRequest),
)
async def find_images(
    request: Request, services: ReadyServices, options: Options, collection: str, _: NoQuery
) -> Response:
    """Which of some ids are there, with the sha256 of their bytes: who has the file need not send it.

    An image is left out when adding it again would mend it: its file is not there or has another size, or
    it has no vector that searches could find.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = check_lengths(
        parse_json(await read_body(request, options.body)), {"ids": options.limits.max_page_items}
    )
    found = await services.collections.find_images(collection, validated(LookupRequest, body).ids)
    return json_response(request, FoundImages(images=[ImageResponse.of(one) for one in found]))


@router.get(_IMAGE, response_model=ImageResponse, responses=refusals(404))
async def get_image(
    request: Request, services: ReadyServices, collection: str, id: str, _: NoQuery
) -> Response:
    """What is known of one image."""
    return json_response(request, ImageResponse.of(await services.collections.get_image(collection, id)))


@router.patch(
    _IMAGE,
    response_model=ImageResponse,
    responses=refusals(404, 507, *BODY),
    openapi_extra=body_of(PatchRequest),
)
async def patch_image(
    request: Request, services: ReadyServices, options: Options, collection: str, id: str, _: NoQuery
) -> Response:
    """Merge into the metadata (RFC 7396): null removes a key."""
    if media_type(request) not in {JSON, MERGE_PATCH}:
        raise unsupported(request, (JSON, MERGE_PATCH))
    asked = validated(PatchRequest, parse_json(await read_body(request, options.body)))
    record = await services.collections.patch(collection, id, asked.metadata)
    return json_response(request, ImageResponse.of(record))


@router.delete(_IMAGE, status_code=204, responses=refusals(404, 507))
async def delete_image(services: ReadyServices, collection: str, id: str, _: NoQuery) -> Response:
    """Remove one image: its row, its embedding, and its file unless another image has the same bytes."""
    await services.collections.delete(collection, id)
    return Response(status_code=204)


async def _read(
    request: Request, options: HttpOptions, jobs: Jobs, stack: AsyncExitStack
) -> Sequence[NewImage] | LongAdd:
    """The images, or what is to become a job: its input is removed with the stack unless it did."""
    if media_type(request) == TAR:
        job_input = await stack.enter_async_context(jobs.receiving())
        return LongAdd(job_input, await read_tar(request, options, job_input))
    return await read_add(request, options, lambda: stack.enter_async_context(jobs.receiving()))


def _accepted(request: Request, job: Job) -> Response:
    answer = json_response(request, JobResponse.of(job), 202)
    answer.headers["Location"] = f"/jobs/{job.id}"
    return answer
