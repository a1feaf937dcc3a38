"""Measurements on large, slow and busy machines, with fake encoders and clocks."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.wiring.tuning import measuring
from diptych.wiring.tuning.measuring import cpu_layout, gpu_batch_sizes


class Machine:
    """A clock that advances with the work of encoders. `load`: wall time relative to an idle machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, crowd: float = 1.0) -> None:
        self.crowd = crowd
        self.cpu_s = 0.0
        self._lock = threading.Lock()
        monkeypatch.setattr(measuring, "process_time", lambda: self.cpu_s)
        monkeypatch.setattr(measuring, "perf_counter", lambda: self.cpu_s * self.crowd)

    def encoder(self, item_s: float, call_s: float = 0.0) -> "TimedEncoder":
        return TimedEncoder(self, item_s, call_s)

    def work(self, seconds: float) -> None:
        with self._lock:
            self.cpu_s += seconds


class TimedEncoder:
    """An encoder with a fixed processor time per item and per call. Records the sizes of its batches."""

    def __init__(self, machine: Machine, item_s: float, call_s: float) -> None:
        self._machine, self._item_s, self._call_s = machine, item_s, call_s
        self.sizes: set[int] = set()

    def encode_image(self, pixels: Any, on_start: Any = None) -> Any:
        self._machine.work(self._call_s + len(pixels) * self._item_s)
        self.sizes.add(len(pixels))

    encode_text = encode_image


def loaded(encoder: TimedEncoder) -> Any:
    golden = SimpleNamespace(pixels=np.zeros((1, 8, 8, 3), np.uint8), input_ids=np.zeros((1, 4), np.int32))
    return SimpleNamespace(encoder=encoder, bundle=SimpleNamespace(golden=golden))


def layout_of(
    encoders: dict[int, TimedEncoder], batch_size: int = 0, n_workers: int = 0
) -> tuple[int, int, int]:
    """Return workers, batch size and threads per worker. `encoders` are by number of threads."""
    found = cpu_layout(
        loaded(encoders[max(encoders)]),
        encoders.__getitem__,  # type: ignore[arg-type]
        n_threads=max(encoders),
        n_workers=n_workers,
        batch_size=batch_size,
    )
    return found.n_workers, found.batch_size, found.n_threads


def test_large_machine_is_tried_with_batches_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    encoders = {n: machine.encoder(seconds) for n, seconds in {16: 0.192, 2: 0.104, 1: 0.092}.items()}
    assert layout_of(encoders) == (16, 8, 1)
    assert all(8 in encoder.sizes for encoder in encoders.values())


@pytest.mark.parametrize("crowd", [1.0, 5.0])
def test_busy_machine_gets_the_layout_of_an_idle_one(crowd: float, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, crowd)
    assert layout_of({2: machine.encoder(0.092), 1: machine.encoder(0.09)}) == (2, 8, 1)
    assert layout_of({2: machine.encoder(0.082), 1: machine.encoder(0.09)}) == (1, 8, 2)


@pytest.mark.parametrize(("item_s", "size"), [(0.01, 8), (0.2, 4), (0.5, 1), (50.0, 1)])
def test_slow_model_is_tried_with_small_batches(
    item_s: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    encoders = {2: machine.encoder(item_s), 1: machine.encoder(item_s)}
    assert layout_of(encoders) == (2, size, 1)
    assert encoders[1].sizes == {1, size}


def test_one_worker_with_many_threads_is_not_taken_for_a_slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Machine(monkeypatch).encoder(16 * 0.02)  # of processor time: all threads run or spin
    assert layout_of({16: encoder}, n_workers=1) == (1, 8, 16)


def test_set_batch_size_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    encoders = {2: machine.encoder(0.5), 1: machine.encoder(0.5)}
    assert layout_of(encoders, batch_size=3) == (2, 3, 1)
    assert encoders[1].sizes == {3}


@pytest.mark.parametrize(("call_s", "size"), [(0.0, 8), (0.001, 32), (0.005, 128)])
def test_gpu_gets_the_smallest_batch_that_is_as_good_as_larger_ones(
    call_s: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Machine(monkeypatch).encoder(0.001, call_s)
    assert gpu_batch_sizes(loaded(encoder)) == (size, size)


def test_slow_gpu_is_not_tried_with_large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Machine(monkeypatch).encoder(0.1)
    assert gpu_batch_sizes(loaded(encoder)) == (8, 8)
    assert max(encoder.sizes) == 8
