"""What is tried on machines that are large, or busy: encoders and clocks are told here what things take."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.core.plan import Plan
from diptych.core.precision import CPU_PROVIDER
from diptych.wiring import measuring
from diptych.wiring.measuring import Measurement

OPEN = {"n_lanes": 0, "image_batch_size": 0, "text_batch_size": 0, "n_decode_threads": 1}


class Machine:
    """`n_cores`, of which others leave each work only one `crowd`-th."""

    def __init__(self, n_cores: int, crowd: float) -> None:
        self.n_cores, self.crowd = n_cores, crowd
        self.cpu_s = self.wall_s = 0.0
        self._lock = threading.Lock()

    def work(self, cpu_s: float) -> None:
        with self._lock:
            self.cpu_s += cpu_s
            self.wall_s += cpu_s / self.n_cores * self.crowd


class TimedEncoder:
    """Takes so much processor time per item; remembers its batches."""

    provider = CPU_PROVIDER

    def __init__(self, machine: Machine, item_cpu_s: float) -> None:
        self._machine, self._item_cpu_s = machine, item_cpu_s
        self.batches: set[int] = set()

    def encode_image(self, pixels: Any) -> Any:
        self._machine.work(len(pixels) * self._item_cpu_s)
        self.batches.add(len(pixels))

    def encode_text(self, input_ids: Any) -> Any:
        self._machine.work(len(input_ids) * self._item_cpu_s / 4)


def measured(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, item_cpu_s: dict[int, float]
) -> tuple[Plan, bool, dict[int, TimedEncoder]]:
    """The plan, whether the machine was this process's own, and the encoders by lanes."""
    monkeypatch.setattr(measuring, "process_time", lambda: machine.cpu_s)
    monkeypatch.setattr(measuring, "perf_counter", lambda: machine.wall_s)
    monkeypatch.setattr(measuring, "load_pixels", lambda *_: None)
    encoders = {n: TimedEncoder(machine, seconds) for n, seconds in item_cpu_s.items()}
    golden = SimpleNamespace(pixels=np.zeros((1, 8, 8, 3), np.uint8), input_ids=np.zeros((1, 4), np.int32))
    manifest = SimpleNamespace(image=SimpleNamespace(size=8))
    loaded: Any = SimpleNamespace(
        encoder=encoders[1], bundle=SimpleNamespace(golden=golden, manifest=manifest)
    )
    n = machine.n_cores
    measurement = Measurement(loaded, encoders, n_threads=n, n_cpus=n, decode="exact")  # type: ignore[arg-type]
    plan = measurement.plan(OPEN)
    return plan, measurement.was_alone, encoders


def test_a_machine_of_many_cores_is_tried_with_batches_in_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    item_cpu_s = {1: 16 * 0.012, 8: 0.104, 16: 0.092}  # sixteen threads mostly wait for each other
    plan, was_alone, encoders = measured(monkeypatch, Machine(16, crowd=1), item_cpu_s)
    assert (plan.n_lanes, plan.image_batch_size) == (16, 8)
    assert all(8 in encoder.batches for encoder in encoders.values())
    assert not any(4 in encoder.batches for encoder in encoders.values())
    assert was_alone


@pytest.mark.parametrize("crowd", [2.5, 5.0])
def test_a_busy_machine_is_tried_with_the_batches_of_an_idle_one_and_known_to_be_busy(
    crowd: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    item_cpu_s = {1: 2 * 0.046, 2: 0.09}
    idle, was_alone, _ = measured(monkeypatch, Machine(2, crowd=1), item_cpu_s)
    assert was_alone
    busy, was_alone, _ = measured(monkeypatch, Machine(2, crowd=crowd), item_cpu_s)
    assert busy == idle == Plan(2, 8, 8, 1)
    assert not was_alone


def test_a_slow_model_is_still_tried_with_single_items(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _, encoders = measured(monkeypatch, Machine(2, crowd=1), {1: 2 * 0.5, 2: 1.0})
    assert plan.image_batch_size == 1
    assert encoders[2].batches == {1}
