"""Images by URL: in order, bounded, each error named, no task left running. No network is used."""

import asyncio
from collections.abc import Callable

import pytest

from diptych.core.fetching.image_urls import ImageUrl, ImageUrls
from diptych.errors import InvalidValue, Overloaded, TooLarge, UnfetchableImage
from unit.core.core_fakes import FakeMetrics, until


class FakeFetcher:
    """Answers with the URL's own text; `bad...` fails, `slow...` waits for the gate."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.n_now = self.n_most = self.n_cancelled = 0
        self.gate = asyncio.Event()

    async def fetch(self, url: str, take: Callable[[int], None]) -> bytes:
        self.asked.append(url)
        self.n_now += 1
        self.n_most = max(self.n_most, self.n_now)
        try:
            await (self.gate.wait() if url.startswith("slow") else asyncio.sleep(0))
            if url.startswith("bad"):
                raise UnfetchableImage("its host answered 404")
            take(len(url))
            return url.encode()
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        finally:
            self.n_now -= 1


def urls_of(fetcher: FakeFetcher, metrics: FakeMetrics | None = None, **given: float) -> ImageUrls:
    numbers = {"max_at_once": 8, "turn_s": 5.0, "total_s": 5.0, **given}
    return ImageUrls(
        fetcher,
        max_at_once=int(numbers["max_at_once"]),
        turn_s=numbers["turn_s"],
        total_s=numbers["total_s"],
        metrics=metrics or FakeMetrics(),
    )


def nothing(n_bytes: int) -> None:
    """There is always room."""


def images(*texts: str) -> list[str | ImageUrl]:
    return [ImageUrl(text) for text in texts]


async def test_files_stand_where_their_urls_stood_and_the_rest_is_as_it_was() -> None:
    metrics, fetcher = FakeMetrics(), FakeFetcher()
    items = ["a text", ImageUrl("one"), b"bytes", ImageUrl("two"), ImageUrl("one")]
    ready = await urls_of(fetcher, metrics).fetched(items, "input", nothing)
    assert ready == ["a text", b"one", b"bytes", b"two", b"one"]
    assert sorted(fetcher.asked) == ["one", "two"]
    assert metrics.stages == {"fetch": 2}


async def test_failing_image_is_named_and_the_others_are_let_go() -> None:
    fetcher = FakeFetcher()
    urls = urls_of(fetcher, max_at_once=16)
    with pytest.raises(UnfetchableImage, match=r"input\[2\]: its host answered 404"):
        await urls.fetched(["text", *images("slow", "bad")], "input", nothing)
    assert (fetcher.n_now, fetcher.n_cancelled) == (0, 1)
    assert await urls.fetched(images("a"), "input", nothing) == [b"a"]  # all turns were given back


async def test_what_room_refuses_ends_the_request_and_names_the_image() -> None:
    room = 5

    def take(n_bytes: int) -> None:
        nonlocal room
        room -= n_bytes
        if room < 0:
            raise TooLarge("no more than 5 bytes")

    with pytest.raises(TooLarge, match=r"images\[1\]: no more"):
        await urls_of(FakeFetcher(), max_at_once=4).fetched(images("abc", "def"), "images", take)


async def test_one_request_fetches_a_quarter_at_once_and_all_together_no_more_than_the_limit() -> None:
    fetcher = FakeFetcher()
    urls = urls_of(fetcher, max_at_once=8)
    many = images(*(f"slow {n}" for n in range(20)))
    alone = asyncio.create_task(urls.fetched(many, "input", nothing))
    await until(lambda: fetcher.n_now == 2)
    others = [asyncio.create_task(urls.fetched(many, "input", nothing)) for _ in range(5)]
    await until(lambda: fetcher.n_now == 8)
    fetcher.gate.set()
    await asyncio.gather(alone, *others)
    assert fetcher.n_most == 8


async def test_image_that_gets_no_turn_is_a_429_and_counted() -> None:
    metrics, fetcher = FakeMetrics(), FakeFetcher()
    urls = urls_of(fetcher, metrics, max_at_once=1, turn_s=0.05)
    first = asyncio.create_task(urls.fetched(images("slow"), "input", nothing))
    await until(lambda: fetcher.n_now == 1)
    with pytest.raises(Overloaded, match=r"input\[0\]: 1 images are being fetched"):
        await urls.fetched(images("other"), "input", nothing)
    assert metrics.rejected == {"fetch_full": 1}
    fetcher.gate.set()
    assert await first == [b"slow"]


async def test_all_images_of_a_request_together_have_a_deadline_and_the_first_missing_one_is_named() -> None:
    fetcher = FakeFetcher()
    urls = urls_of(fetcher, max_at_once=8, total_s=0.05)
    with pytest.raises(UnfetchableImage, match=r"input\[1\]: .* within 0.05 s"):
        await urls.fetched(images("a", "slow", "b"), "input", nothing)
    assert (fetcher.n_now, fetcher.n_cancelled) == (0, 1)


async def test_caller_that_goes_away_takes_its_fetches_along() -> None:
    fetcher = FakeFetcher()
    urls = urls_of(fetcher, max_at_once=8)
    request = asyncio.create_task(urls.fetched(images("slow 1", "slow 2"), "input", nothing))
    await until(lambda: fetcher.n_now == 2)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (fetcher.n_now, fetcher.n_cancelled) == (0, 2)


async def test_url_that_may_not_be_fetched_keeps_its_own_error() -> None:
    class Refusing(FakeFetcher):
        async def fetch(self, url: str, take: Callable[[int], None]) -> bytes:
            raise InvalidValue("image URLs are off")

    with pytest.raises(InvalidValue, match=r"query\[0\]: image URLs are off"):
        await urls_of(Refusing()).fetched(images("a"), "query", nothing)


def test_url_is_not_in_what_is_printed_of_it() -> None:
    assert "secret" not in repr(ImageUrl("https://images.example/?key=secret"))
