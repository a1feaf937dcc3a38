"""Read a tar archive of images: it goes to the disk as it comes, and is looked into there.

Knows no collection.
"""

import asyncio

from starlette.requests import Request

from diptych.core.job import JobItem
from diptych.core.jobs.archive import items_of
from diptych.core.jobs.ports import JobInput
from diptych.errors import InvalidValue
from diptych.http.middleware.body_budget import let_go_of
from diptych.http.middleware.timeout import more_time_for
from diptych.http.options import HttpOptions
from diptych.http.parsing.body import body_chunks

TAR = "application/x-tar"
CHUNK = 100_000  # bytes in memory before they are written: of each of a thousand that come slowly


async def read_tar(request: Request, options: HttpOptions, job_input: JobInput) -> list[JobItem]:
    """The images in the archive, which is in the input then. Raises InputError, HTTPException 415 and 408."""
    waiting = bytearray()
    let_go, more_time = let_go_of(request), more_time_for(request)

    async def write() -> None:
        await job_input.write(waiting)
        let_go(len(waiting))
        waiting.clear()
        more_time()

    async for chunk in body_chunks(request, lambda: options.long_body):
        waiting += chunk
        if len(waiting) >= CHUNK:
            await write()
    await write()
    limits = options.limits
    items = await asyncio.to_thread(
        items_of, job_input.read, job_input.n_bytes, limits.max_job_items, limits.max_image_bytes
    )
    if not items:
        raise InvalidValue("the archive has no files but hidden ones")
    return items
