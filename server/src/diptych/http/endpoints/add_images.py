"""`POST /collections/{collection}/images`: add images, or start a job that adds many.

The body is a form or a tar archive. A short form stays in memory; a long form or an archive goes to the disk
while it arrives, and becomes a job.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.core.job import Job, JobItem
from diptych.core.jobs.items import items_of_archive
from diptych.core.jobs.ports import JobInput
from diptych.core.jobs.service import Jobs
from diptych.core.limits import Limits
from diptych.core.types import NewImage
from diptych.errors import InvalidValue, TooLarge
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.add_models import (
    EXAMPLE_ITEMS,
    AddItem,
    AddQuery,
    AddResponse,
    read_items,
    respond_add,
)
from diptych.http.endpoints.jobs import JobResponse
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, Responses, documented_errors
from diptych.http.media_types import MULTIPART, TAR, media_type, unsupported
from diptych.http.middleware.body_budget import memory_releaser
from diptych.http.middleware.timeout import deadline_extender
from diptych.http.options import BodyLimits, HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import body_chunks
from diptych.http.parsing.form import Form
from diptych.http.parsing.limits import check_count
from diptych.http.parsing.multipart import PartsReader, read_part
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices

CHUNK = 100_000  # bytes in memory before they are written; a thousand slow uploads may hold as much each
_FIELDS = ("image", "items")
OpenInput = Callable[[], Awaitable[JobInput]]


@dataclass(frozen=True)
class JobContent:
    """The content of a new job: its images are in the input on disk."""

    job_input: JobInput
    items: Sequence[JobItem]


router = APIRouter(
    tags=["collections"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute
)
_ACCEPTED: Responses = {202: {"model": JobResponse, "description": "A job was created, see `/jobs`"}}
_FORM = schemas.form(
    {
        "image": schemas.non_empty_list(schemas.FILE, limit="max_job_items"),
        "items": schemas.json_field(
            schemas.non_empty_list(schemas.ref("AddItem"), limit="max_job_items"),
            "{id, metadata} of each image, in their order",
        ),
    },
    required=("image",),
    examples=[{"image": [schemas.EXAMPLE_FILE], "items": EXAMPLE_ITEMS}],
)


@router.post(
    "/collections/{collection}/images",
    summary="Add images to a collection",
    response_model=AddResponse,
    responses=documented_errors(404, 409, 507, *BODY_ERRORS) | _ACCEPTED,
    openapi_extra=request_body(form=_FORM, raw=(TAR,), form_models=(AddItem,)),
)
@needs("write", collections="path")
async def add_images(
    request: Request, services: ReadyServices, options: Options, collection: str, query: AddQuery
) -> Response:
    """Add images. Each is durable and searchable when its outcome is created, unchanged or replaced.

    An image without an id gets the first 32 hex digits of its sha256. An id that exists with other bytes is a
    conflict unless `replace=true`. If there is only one image and it fails, its error is the response, such
    as a 409.

    More than 64 images, a body of over 100 MB, or a tar archive become a job (202): see `/jobs`. In an
    archive, `cat.json` next to `cat.jpg` may hold its {id, metadata}.
    """
    services.collections.require_served(collection)  # checked before a body of gigabytes arrives
    context = context_of(request)
    async with AsyncExitStack() as stack:
        with context.stage("parse"):
            images = await _read(request, options, services.jobs, stack)
        if isinstance(images, JobContent):
            job = await services.jobs.submit(
                images.job_input, collection, images.items, replace=query.replace
            )
            return _accepted(request, job)
    with context.stage("work"):
        adding = services.collections.add_many(collection, images, replace=query.replace)
        added = await cancel_on_disconnect(request, adding)  # a write that has begun is completed
    return await respond_add(request, added, collection, "images[0]")


async def _read(
    request: Request, options: HttpOptions, jobs: Jobs, stack: AsyncExitStack
) -> Sequence[NewImage] | JobContent:
    """Read the images, or the content of a job.

    The stack removes the input of a job that was not submitted.
    """
    if media_type(request) == TAR:
        job_input = await stack.enter_async_context(jobs.receiving())
        return JobContent(job_input, await read_tar(request, options, job_input))
    return await read_form(request, options, lambda: stack.enter_async_context(jobs.receiving()))


def _accepted(request: Request, job: Job) -> Response:
    response = json_response(request, JobResponse.of(job), 202)
    response.headers["Location"] = f"/jobs/{job.id}"
    return response


async def read_form(
    request: Request, options: HttpOptions, open_input: OpenInput
) -> Sequence[NewImage] | JobContent:
    """Read N `image` parts and the optional `items`. An image over its size limit fails alone, later.

    If there are more images or bytes than one add takes, the images are moved to the input while they arrive.
    Raises InputError that names `items[i]`, TooLarge, HTTPException 415 and 408, and whatever `open_input`
    raises.
    """
    if media_type(request) != MULTIPART:
        raise unsupported(request, (MULTIPART, TAR))
    return await _FormReader(request, options, open_input).read()


class _FormReader:
    """Reads a form: in memory while it is short, then image by image to the input of a job."""

    def __init__(self, request: Request, options: HttpOptions, open_input: OpenInput) -> None:
        limits = options.limits
        self._reader = PartsReader(
            request,
            self._chunks(request),
            limits.max_job_items + len(_FIELDS),
            f"at most {limits.max_job_items} images in one job",
            max_part_bytes=limits.max_body_bytes,
        )
        self._options = options
        self._open_input = open_input
        self._release = memory_releaser(request)
        self._extend_deadline = deadline_extender(request)
        self._n_bytes = 0
        self._n_moved = 0  # parts that were moved to the input, or passed over
        self._input: JobInput | None = None
        self._items: list[JobItem] = []

    async def read(self) -> Sequence[NewImage] | JobContent:
        """Read the whole form."""
        await self._reader.read()
        form = Form([read_part(*item) for item in self._reader.items], _FIELDS)
        if self._input is None:
            return _from_form(form, self._options.limits)
        items = await asyncio.to_thread(_job_items, form, self._items, self._options.limits)
        return JobContent(self._input, items)

    async def _chunks(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Feed the parser. When it asks for the next chunk, it has parsed those before."""
        async for chunk in body_chunks(request, self._limits):
            yield chunk
            self._n_bytes += len(chunk)
            if self._input is None and self._is_long():
                self._input = await self._open_input()
            if self._input is not None:
                await self._move_images(self._input)

    def _limits(self) -> BodyLimits:
        """The limits for now: the size of a job from the start, but its time only once the form is long."""
        long = self._options.job_body
        return long if self._input else BodyLimits(long.max_bytes, self._options.body.timeout_s)

    def _is_long(self) -> bool:
        limits = self._options.limits
        n_images = sum(name == "image" for name, _ in self._reader.items)
        return self._n_bytes > limits.max_body_bytes or n_images > limits.max_add_items

    async def _move_images(self, job_input: JobInput) -> None:
        """Move the complete images from memory to the input."""
        parts = self._reader.items
        while self._n_moved < len(parts):
            name, value = parts[self._n_moved]
            if name == "image":
                payload = read_part(name, value).data
                self._items.append(await self._write_image(job_input, payload))
                self._release(len(payload))
                parts[self._n_moved] = (name, "")
                self._extend_deadline()
            self._n_moved += 1

    async def _write_image(self, job_input: JobInput, payload: bytes) -> JobItem:
        number, offset, n_bytes = len(self._items), job_input.n_bytes, len(payload)
        limit = self._options.limits.max_image_bytes
        if n_bytes > limit:
            error = TooLarge(f"image has {n_bytes} bytes, limit is {limit}")
            return JobItem(number, 0, 0, error=error)
        await job_input.write(payload)
        return JobItem(number, offset, n_bytes)


def _from_form(form: Form, limits: Limits) -> Sequence[NewImage]:
    payloads = [part.data for part in form.parts("image")]
    check_count(payloads, "images", limits.max_add_items)
    items = read_items(form, len(payloads), "images", limits.max_add_items)
    return [NewImage(payload, item.id, item.metadata) for payload, item in zip(payloads, items, strict=True)]


def _job_items(form: Form, images: Sequence[JobItem], limits: Limits) -> list[JobItem]:
    check_count(images, "images", limits.max_job_items)
    items = read_items(form, len(images), "images", limits.max_job_items)
    return [
        JobItem(image.number, image.offset, image.n_bytes, item.id, item.metadata, image.error)
        for image, item in zip(images, items, strict=True)
    ]


async def read_tar(request: Request, options: HttpOptions, job_input: JobInput) -> list[JobItem]:
    """Write a tar archive to the input, and return the images in it.

    Raises InputError, HTTPException 415 and 408.
    """
    buffer = bytearray()
    release, extend_deadline = memory_releaser(request), deadline_extender(request)

    async def write() -> None:
        await job_input.write(buffer)
        release(len(buffer))
        buffer.clear()
        extend_deadline()

    async for chunk in body_chunks(request, lambda: options.job_body):
        buffer += chunk
        if len(buffer) >= CHUNK:
            await write()
    await write()
    limits = options.limits
    items = await asyncio.to_thread(
        items_of_archive, job_input.read, job_input.n_bytes, limits.max_job_items, limits.max_image_bytes
    )
    if not items:
        raise InvalidValue("the archive has no files, or only hidden ones")
    return items
