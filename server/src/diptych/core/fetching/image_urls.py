"""Fetch the images that a request gives by URL: bounded, fair, and counted."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from diptych.core.ports import Metrics
from diptych.core.timing import stage
from diptych.errors import DiptychError, Overloaded, UnfetchableImage

Item = TypeVar("Item")
# Called with a number of bytes before they are held in memory. Raises when there is no room for them.
ReserveBytes = Callable[[int], None]
SHARE = 4  # one request fetches at most a quarter of what all may fetch at once


class ImageFetcher(Protocol):
    """Fetches the image file of a URL. A cancelled call closes its connection."""

    async def fetch(self, url: str, take: ReserveBytes) -> bytes:
        """Call `take` with numbers of bytes before they are held in memory; it may raise.

        Raises InvalidValue for a URL that may not be fetched, UnfetchableImage, TooLarge, and Overloaded,
        which it counts, when too many images are being fetched already.
        """
        ...


@dataclass(frozen=True)
class ImageUrl:
    """An image given by its URL, which may hold a secret: it goes into no message and no log."""

    url: str = field(repr=False)


class ImageUrls:
    """Fetches at most `max_at_once` images at once for all requests, a quarter of them for any one request.

    An image waits at most `turn_s` for its turn, and all images of a request must arrive within `total_s`.
    """

    def __init__(
        self, fetcher: ImageFetcher, *, max_at_once: int, turn_s: float, total_s: float, metrics: Metrics
    ) -> None:
        self._fetcher = fetcher
        self._max_at_once = max_at_once
        self._turns = asyncio.Semaphore(max_at_once)
        self._turn_s = turn_s
        self._total_s = total_s
        self._metrics = metrics

    async def fetched(
        self, items: Sequence[Item | ImageUrl], prefix: str, take: ReserveBytes
    ) -> list[Item | bytes]:
        """Return the items in order, with image files in place of URLs; a repeated URL is fetched once.

        `reserve` is called with numbers of bytes before they are held, and may refuse them by raising. The
        first image that fails ends the call; its error is named `prefix[i]`: InvalidValue for a URL that may
        not be fetched, UnfetchableImage, TooLarge, Overloaded.
        """
        first_places: dict[ImageUrl, str] = {}
        for i, item in enumerate(items):
            if isinstance(item, ImageUrl):
                first_places.setdefault(item, f"{prefix}[{i}]")
        files = await self._all(first_places, take) if first_places else {}
        return [files[item] if isinstance(item, ImageUrl) else item for item in items]

    async def _all(self, places: dict[ImageUrl, str], take: ReserveBytes) -> dict[ImageUrl, bytes]:
        files: dict[ImageUrl, bytes] = {}
        waiting = iter(places.items())
        n_workers = min(len(places), max(1, self._max_at_once // SHARE))
        workers = [asyncio.create_task(self._work(waiting, files, take)) for _ in range(n_workers)]
        try:
            async with asyncio.timeout(self._total_s):
                await asyncio.gather(*workers)
        except TimeoutError:
            missing = next(place for url, place in places.items() if url not in files)
            message = f"the images of this request were not fetched within {self._total_s:g} s"
            raise UnfetchableImage(message, missing) from None
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return files

    async def _work(
        self,
        waiting: Iterator[tuple[ImageUrl, str]],
        files: dict[ImageUrl, bytes],
        take: ReserveBytes,
    ) -> None:
        for image, place in waiting:
            try:
                files[image] = await self._one(image, take)
            except DiptychError as error:
                raise error.named(place) from None

    async def _one(self, image: ImageUrl, take: ReserveBytes) -> bytes:
        await self._turn()
        try:
            with stage(self._metrics, "fetch"):
                return await self._fetcher.fetch(image.url, take)
        finally:
            self._turns.release()

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(self._turn_s):
                await self._turns.acquire()
        except TimeoutError:
            self._metrics.count_rejected("fetch_full")
            message = f"{self._max_at_once} images are being fetched, no turn came in {self._turn_s:g} s"
            raise Overloaded(message) from None
