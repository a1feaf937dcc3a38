"""The memory of decoded images: the pixel budget of all threads, and the return of freed memory."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from diptych.adapters.images.memory import MallocTrim, PixelBudget
from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.bundle.image import preprocess as image
from diptych.bundle.image.preprocess import ImageLimits
from support.bundle_examples import image_spec
from support.pictures import noise

TIMEOUT_S = 10


def test_held_pixels_exceed_the_budget_only_for_one_image_alone() -> None:
    budget, lock = PixelBudget(100), threading.Lock()
    held: list[int] = []
    seen: list[list[int]] = []

    def work(n_px: int) -> None:
        with budget.hold(n_px):
            with lock:
                held.append(n_px)
                seen.append(list(held))
            with lock:
                held.remove(n_px)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 60, 100, 1, 500, 40, 99, 2] * 50, timeout=TIMEOUT_S))
    assert len(seen) == 400
    assert all(sum(sizes) <= 100 or len(sizes) == 1 for sizes in seen)


def test_large_image_is_not_overtaken_by_small_ones_for_ever() -> None:
    budget, is_over = PixelBudget(100), threading.Event()

    def large() -> None:
        with budget.hold(100):
            is_over.set()

    def small(began: threading.Event) -> None:
        """Ends only once the next one has begun, if it may: some room is always taken."""
        with budget.hold(50):
            began.set()
            if not is_over.is_set():
                next_began = threading.Event()
                pool.submit(small, next_began)
                next_began.wait(0.1)

    with ThreadPoolExecutor(3) as pool:
        began = threading.Event()
        pool.submit(small, began)
        assert began.wait(TIMEOUT_S)
        pool.submit(large)
        was_let_in = is_over.wait(TIMEOUT_S)
        is_over.set()
    assert was_let_in


def test_decoder_decodes_large_images_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, counts, n_now = threading.Lock(), list[int](), 0
    preprocess, both = image.preprocess, threading.Barrier(2)

    def counted(*values: Any, **options: Any) -> Any:
        nonlocal n_now
        with lock:
            n_now += 1
            counts.append(n_now)
        try:
            both.wait(0.05)  # long enough for a second one to come in, if it may
        except threading.BrokenBarrierError:
            both.reset()
        pixels = preprocess(*values, **options)
        with lock:
            n_now -= 1
        return pixels

    monkeypatch.setattr(image, "preprocess", counted)

    async def run(max_px: int, max_decoded_px: int | None = None, raised_to_px: int | None = None) -> int:
        counts.clear()
        limits = ImageLimits(max_px=max_px)
        workers = ImageWorkers(limits, n_threads=2, max_decoded_px=max_decoded_px)
        if raised_to_px is not None:
            workers.allow_decoded_px(raised_to_px)
        await workers.decoder(image_spec(size=8)).decode_many(
            [noise(n, (40, 40)) for n in range(4)], lambda seconds: None
        )
        return max(counts)

    assert asyncio.run(run(3_000)) == 1
    assert asyncio.run(run(10_000)) == 2
    assert asyncio.run(run(3_000, 10_000)) == 2, "where there is room for more than one image may have"
    assert asyncio.run(run(3_000, raised_to_px=10_000)) == 2
    assert asyncio.run(run(3_000, 10_000, raised_to_px=5_000)) == 2, "it is never lowered"


def test_many_requests_cause_one_trim() -> None:
    done, calls = threading.Event(), []

    def trim() -> None:
        calls.append(1)
        done.set()

    freed = MallocTrim(after_s=0.1, trim=trim)
    for _ in range(100):
        freed.trim_soon()
    assert done.wait(10)
    assert len(calls) == 1


def test_request_after_a_trim_causes_another_one() -> None:
    done = threading.Semaphore(0)
    freed = MallocTrim(after_s=0.0, trim=done.release)
    for _ in range(3):
        freed.trim_soon()
        assert done.acquire(timeout=10)
