"""The encoder of a precision is replaced while calls run."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core.encoding.swappable_encoder import SwappableEncoder
from diptych.core.tuning.precision import Running, TensorRt

SERVING = TensorRt("serving", "built")
WAIT_S = 10.0


class Numbered:
    """Encodes to rows of its own number; a call may be held up."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.may_end = threading.Event()
        self.may_end.set()
        self.begun = threading.Semaphore(0)  # one for each call

    def encode_image(self, pixels: NDArray[Any], on_start: Any = None) -> Any:
        self.begun.release()
        assert self.may_end.wait(WAIT_S)
        return np.full((len(pixels), 2), self.number, np.float32)

    def encode_text(self, input_ids: NDArray[Any], on_start: Any = None) -> Any:
        return self.encode_image(input_ids, on_start)


def running(provider: str) -> Running:
    return Running("fp16", provider, None)


def batch(n_items: int) -> Any:
    return np.zeros((n_items, 3), np.uint8)


def test_call_that_runs_ends_with_its_encoder_and_the_next_one_has_the_new() -> None:
    old, new = Numbered(1), Numbered(2)
    encoder = SwappableEncoder(old, lambda: running("old"))
    old.may_end.clear()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(encoder.encode_image, batch(3))
        assert old.begun.acquire(timeout=WAIT_S)
        encoder.swap(new, lambda: running("new"), SERVING)
        assert encoder.encode_text(batch(2)).tolist() == [[2, 2]] * 2  # beside the call that still runs
        old.may_end.set()
        assert call.result(WAIT_S).tolist() == [[1, 1]] * 3
    assert encoder.encode_image(batch(1)).tolist() == [[2, 2]]


def test_what_is_replaced_is_freed_with_its_last_call() -> None:
    old = Numbered(1)
    gone = weakref.ref(old)
    encoder = SwappableEncoder(old, lambda: running("old"))
    del old
    encoder.swap(Numbered(2), lambda: running("new"), SERVING)
    gc.collect()
    assert gone() is None


def test_what_is_replaced_is_closed_once_after_its_last_call() -> None:
    old, closed = Numbered(1), list[str]()
    encoder = SwappableEncoder(old, lambda: running("old"), lambda: closed.append("old"))
    old.may_end.clear()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(encoder.encode_image, batch(3)), pool.submit(encoder.encode_text, batch(1))]
        assert all(old.begun.acquire(timeout=WAIT_S) for _ in calls)
        encoder.swap(Numbered(2), lambda: running("new"), SERVING, lambda: closed.append("new"))
        assert closed == []
        old.may_end.set()
        for call in calls:
            call.result(WAIT_S)
    assert closed == ["old"]
    encoder.encode_image(batch(1))
    assert closed == ["old"]
    encoder.close()
    encoder.close()
    assert closed == ["old", "new"]


def test_no_batch_is_of_two_encoders_however_often_they_are_replaced() -> None:
    encoders = [Numbered(n) for n in range(4)]
    encoder, done, mixed = SwappableEncoder(encoders[0], lambda: running("first")), threading.Event(), []

    def ask() -> None:
        while not done.is_set():
            rows = encoder.encode_image(batch(8))
            if len(np.unique(rows)) != 1:
                mixed.append(rows)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(ask), pool.submit(ask)]
        for n in range(400):
            encoder.swap(encoders[n % 4], lambda: running("next"), SERVING)
        done.set()
        for call in calls:
            call.result(WAIT_S)
    assert mixed == []


def test_running_encoder_and_the_state_of_tensorrt_are_described() -> None:
    encoder = SwappableEncoder(Numbered(1), lambda: running("CUDA"))
    assert encoder.running() == running("CUDA")
    encoder.set_tensorrt_state(TensorRt("building", "CUDA serves meanwhile"))
    assert encoder.running().provider == "CUDA"
    assert encoder.running().tensorrt == TensorRt("building", "CUDA serves meanwhile")
    encoder.swap(Numbered(2), lambda: running("TensorRT"), SERVING)
    assert (encoder.running().provider, encoder.running().tensorrt) == ("TensorRT", SERVING)


def test_replacement_that_comes_after_the_end_is_closed_instead() -> None:
    closed: list[str] = []
    encoder = SwappableEncoder(Numbered(1), lambda: running("old"), lambda: closed.append("old"))
    encoder.close()
    encoder.swap(Numbered(2), lambda: running("new"), SERVING, lambda: closed.append("new"))
    assert closed == ["old", "new"]
    assert encoder.running().provider == "old"
