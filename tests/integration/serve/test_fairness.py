"""One client with hundreds of images beside ten clients with one, in the whole application without a socket.

The tests count batches, so that they depend on no clock.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import numpy as np

from diptych.core.encoding.embedder import image_batch_encoder
from diptych.http.app import create_app
from diptych.settings import Settings
from diptych.wiring.services import load
from support.app import FIXED_PLAN
from support.pictures import picture
from support.tiny_bundle import TINY, write_tiny_bundle

BATCH_S = 0.08  # beside which HTTP and decoding, in the same process, take little, on a busy machine too
N_LARGE, N_IN_ALL = 4, 500  # requests, and their images


class CountedEncoder:
    """An encoder that is slow and counts the batches that began."""

    def __init__(self, encode: Any) -> None:
        self._encode = encode
        self.sizes: list[int] = []

    def __call__(self, items: Any, on_start: Any) -> Any:
        self.sizes.append(len(items))
        time.sleep(BATCH_S)
        return self._encode(items, on_start)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, CountedEncoder]]:
    """Yield a client of the ready application and its image encoder."""
    write_tiny_bundle(folder / "model_repo")
    settings = Settings(model_repo=folder / "model_repo", model=TINY, data_dir=folder / "data", **FIXED_PLAN)
    encoders: list[CountedEncoder] = []

    def counted(runner: Any) -> CountedEncoder:
        encoders.append(CountedEncoder(image_batch_encoder(runner)))
        return encoders[-1]

    app = create_app(partial(load, settings))
    transport = httpx.ASGITransport(app)
    with mock.patch("diptych.wiring.version.image_batch_encoder", counted):
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client,
        ):
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - as a client must
                await asyncio.sleep(0.01)
            (encoder,) = encoders
            yield client, encoder


def colour(number: int) -> bytes:
    """Return a unique picture: equal pictures would be encoded only once."""
    return picture((number % 251, number // 251, 7), (8, 8))


async def embed(client: httpx.AsyncClient, images: list[bytes]) -> None:
    answer = await client.post("/embed", files=[("image", image) for image in images])
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == len(images)


async def waits_beside_hundreds(
    client: httpx.AsyncClient, encoder: CountedEncoder
) -> tuple[list[int], list[int]]:
    """Return how many batches began during each request of ten clients, and the sizes of all batches."""
    images = [colour(n) for n in range(N_IN_ALL)]
    step = N_IN_ALL // N_LARGE
    large = [asyncio.create_task(embed(client, images[n : n + step])) for n in range(0, N_IN_ALL, step)]
    waits: list[int] = []

    async def keep_asking(number: int) -> None:
        while not all(task.done() for task in large):
            began = len(encoder.sizes)
            await embed(client, [colour(2000 + number)])
            waits.append(len(encoder.sizes) - began)

    await asyncio.gather(*large, *(keep_asking(n) for n in range(10)))
    return waits, encoder.sizes


def test_ten_clients_with_one_image_wait_at_most_three_batches_beside_one_with_hundreds(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (client, encoder):
            waits, sizes = await waits_beside_hundreds(client, encoder)
        print("batches waited", sorted(Counter(waits).items()))
        assert len(waits) > 50
        assert np.percentile(waits, 99) <= 3
        assert sum(sizes) == N_IN_ALL + len(waits)
        assert max(sizes) == 16, "the large requests fill the batches"

    asyncio.run(run())


def test_one_image_does_not_wait_until_hundreds_are_decoded(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (client, _):
            images = [picture((n % 251, n // 251, 7), (400, 400)) for n in range(250)]
            large = asyncio.create_task(embed(client, images))
            await asyncio.sleep(0.05)
            for number in range(5):
                await embed(client, [colour(2000 + number)])
            assert not large.done()
            await large

    asyncio.run(run())
