"""One client with hundreds of images beside ten clients with one, in the whole application without a socket.

The encoder waits until every client has asked again, so that the batches depend on no clock.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from diptych.adapters.prometheus import PrometheusMetrics
from diptych.core.encoding.embedder import image_batch_encoder
from diptych.core.ports import EncoderName
from diptych.http.app import create_app
from diptych.settings import Settings
from diptych.wiring.services import load
from support.app import FIXED_PLAN
from support.pictures import picture
from support.tiny_bundle import TINY, write_tiny_bundle

N_LARGE, N_IN_ALL = 4, 500  # requests, and their images
N_CLIENTS = 10  # with one image at a time
ASKED_AGAIN_WITHIN_S = 60


class CountedMetrics(PrometheusMetrics):
    """Counts the images that wait for the encoder."""

    n_queued = 0

    def add_queue_items(self, encoder: EncoderName, n_more: int) -> None:
        super().add_queue_items(encoder, n_more)
        if encoder == "image":
            type(self).n_queued += n_more


class LockstepEncoder:
    """Counts the batches that began. Each waits until all images that will be asked for are in the queue."""

    def __init__(self, encode: Any) -> None:
        self._encode = encode
        self._n_left = N_IN_ALL  # images of the large requests
        self.sizes: list[int] = []

    def __call__(self, items: Any, on_start: Any) -> Any:
        self.sizes.append(len(items))
        deadline = time.monotonic() + ASKED_AGAIN_WITHIN_S
        while self._n_left and CountedMetrics.n_queued + len(items) != self._n_left + N_CLIENTS:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        self._n_left -= sum(int(item[0, 0, 2]) == LARGE for item in items)
        return self._encode(items, on_start)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, LockstepEncoder]]:
    """Yield a client of the ready application and its image encoder."""
    write_tiny_bundle(folder / "model_repo")
    settings = Settings(model_repo=folder / "model_repo", model=TINY, data_dir=folder / "data", **FIXED_PLAN)
    encoders: list[LockstepEncoder] = []

    def counted(runner: Any) -> LockstepEncoder:
        encoders.append(LockstepEncoder(image_batch_encoder(runner)))
        return encoders[-1]

    app = create_app(partial(load, settings))
    transport = httpx.ASGITransport(app)
    with (
        mock.patch("diptych.wiring.version.image_batch_encoder", counted),
        mock.patch("diptych.wiring.assemble.PrometheusMetrics", CountedMetrics),
    ):
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client,
        ):
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - as a client must
                await asyncio.sleep(0.01)
            (encoder,) = encoders
            yield client, encoder


LARGE, SMALL = 7, 9  # the blue of the pictures of large requests, and of the others


def colour(number: int, blue: int) -> bytes:
    """Return a unique picture: equal pictures would be encoded only once."""
    return picture((number % 251, number // 251, blue), (8, 8))


async def embed(client: httpx.AsyncClient, images: list[bytes]) -> None:
    answer = await client.post("/embed", files=[("image", image) for image in images])
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == len(images)


async def waits_beside_hundreds(client: httpx.AsyncClient, encoder: LockstepEncoder) -> list[int]:
    """Return how many batches began during each request of ten clients."""
    images = [colour(n, LARGE) for n in range(N_IN_ALL)]
    step = N_IN_ALL // N_LARGE
    large = [asyncio.create_task(embed(client, images[n : n + step])) for n in range(0, N_IN_ALL, step)]
    waits: list[int] = []

    async def keep_asking(number: int) -> None:
        while not all(task.done() for task in large):
            began = len(encoder.sizes)
            await embed(client, [colour(number, SMALL)])
            waits.append(len(encoder.sizes) - began)

    await asyncio.gather(*large, *(keep_asking(n) for n in range(N_CLIENTS)))
    return waits


def test_ten_clients_with_one_image_wait_at_most_three_batches_beside_one_with_hundreds(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (client, encoder):
            waits = await waits_beside_hundreds(client, encoder)
        assert len(waits) > 50
        assert max(waits) <= 3
        assert sum(encoder.sizes) == N_IN_ALL + len(waits)
        assert max(encoder.sizes) == 16, "the large requests fill the batches"

    asyncio.run(run())
