"""Read the body of an add, which becomes a job when it is long. Knows nothing of collections."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from diptych.core.job import JobItem
from diptych.core.jobs.ports import JobInput
from diptych.core.limits import Limits
from diptych.core.types import NewImage
from diptych.errors import InvalidValue, TooLarge
from diptych.http.errors.validation import validated
from diptych.http.media_types import MULTIPART, media_type, unsupported
from diptych.http.middleware.body_budget import let_go_of
from diptych.http.middleware.timeout import more_time_for
from diptych.http.options import BodyLimits, HttpOptions
from diptych.http.parsing.body import body_chunks
from diptych.http.parsing.form import Form
from diptych.http.parsing.limits import check_count, check_lengths
from diptych.http.parsing.multipart import PartsReader, part_of
from diptych.http.requests import AddItem, AddItems
from diptych.http.tar_body import TAR

_FIELDS = ("image", "items")
OpenInput = Callable[[], Awaitable[JobInput]]


@dataclass(frozen=True)
class LongAdd:
    """What is to become a job: its images are in the input."""

    job_input: JobInput
    items: Sequence[JobItem]


async def read_add(
    request: Request, options: HttpOptions, open_input: OpenInput
) -> Sequence[NewImage] | LongAdd:
    """N `image` parts and the optional `items`. An image over its limit is left to fail alone.

    More images than one add takes, or a longer body, go to the input as they come, and leave memory. Raises
    InputError naming `items[i]`, TooLarge, HTTPException 415 and 408, and what `open_input` raises.
    """
    if media_type(request) != MULTIPART:
        raise unsupported(request, (MULTIPART, TAR))
    return await _AddBody(request, options, open_input).read()


class _AddBody:
    """The body so far: in memory while it is short."""

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
        self._let_go = let_go_of(request)
        self._more_time = more_time_for(request)
        self._n_bytes = 0
        self._n_moved = 0  # parts that were looked at, to go to the input
        self._input: JobInput | None = None
        self._items: list[JobItem] = []

    async def read(self) -> Sequence[NewImage] | LongAdd:
        """All of it, when it is over."""
        await self._reader.read()
        form = Form([part_of(*item) for item in self._reader.items], _FIELDS)
        if self._input is None:
            return _from_form(form, self._options.limits)
        items = await asyncio.to_thread(_described, form, self._items, self._options.limits)
        return LongAdd(self._input, items)

    async def _chunks(self, request: Request) -> AsyncGenerator[bytes, None]:
        """What the reader is fed with. When it asks for more, it has taken in what came before."""
        async for chunk in body_chunks(request, self._limits):
            yield chunk
            self._n_bytes += len(chunk)
            if self._input is None and self._is_long():
                self._input = await self._open_input()
            if self._input is not None:
                await self._move(self._input)

    def _limits(self) -> BodyLimits:
        """Until it is long, it has the time of any body; its length was allowed from the first."""
        long = self._options.long_body
        return long if self._input else BodyLimits(long.max_bytes, self._options.body.timeout_s)

    def _is_long(self) -> bool:
        limits = self._options.limits
        n_images = sum(name == "image" for name, _ in self._reader.items)
        return self._n_bytes > limits.max_body_bytes or n_images > limits.max_add_items

    async def _move(self, job_input: JobInput) -> None:
        """Images that are complete leave memory."""
        parts = self._reader.items
        while self._n_moved < len(parts):
            name, value = parts[self._n_moved]
            if name == "image":
                payload = part_of(name, value).data
                self._items.append(await self._moved(job_input, payload))
                self._let_go(len(payload))
                parts[self._n_moved] = (name, "")
                self._more_time()
            self._n_moved += 1

    async def _moved(self, job_input: JobInput, payload: bytes) -> JobItem:
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
    items = _items(form, len(payloads), limits.max_add_items)
    return [NewImage(payload, item.id, item.metadata) for payload, item in zip(payloads, items, strict=True)]


def _described(form: Form, images: Sequence[JobItem], limits: Limits) -> list[JobItem]:
    check_count(images, "images", limits.max_job_items)
    items = _items(form, len(images), limits.max_job_items)
    return [
        JobItem(image.number, image.offset, image.n_bytes, item.id, item.metadata, image.error)
        for image, item in zip(images, items, strict=True)
    ]


def _items(form: Form, n_images: int, limit: int) -> Sequence[AddItem]:
    given = form.json("items")
    if given is None:
        return [AddItem()] * n_images
    items = validated(AddItems, check_lengths({"items": given}, {"items": limit})).items
    if len(items) != n_images:
        raise InvalidValue(f"has {len(items)} entries for {n_images} images", "items")
    return items
