from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.serving import products
from benchmarks.serving.limit import compared
from benchmarks.serving.model import Shape
from benchmarks.serving.products import CHOOSING, MIN_PASSES, fastest_in_turns, in_turns
from benchmarks.serving.ways import LANES, ONE_SESSION, SESSIONS

TOWER = Shape(768, 12, {}, "fp32")  # ViT-B/32
SPEED = 200.0  # GFLOP/s


def _found(batch: int, session_s: float, lanes_s: float | None = None) -> dict[str, dict[str, float]]:
    """As `products.measure` finds it where every product is computed at SPEED in its best way."""
    seconds = {SESSIONS: min(session_s, lanes_s or session_s), ONE_SESSION: session_s}
    if lanes_s is not None:
        seconds[LANES] = lanes_s
    for product, count in TOWER.n_products().items():
        m, k, n = product if len(product) == 3 else (50, *product)
        name = "x".join(map(str, product))
        seconds[name] = count * 2 * batch * m * k * n / 1e9 / SPEED
    return {"seconds": seconds}


def _compared(found: dict[str, dict[str, float]], batch: int) -> dict[str, float]:
    as_arranged = TOWER.gflop_per_image(as_arranged=True)
    told = found | {"cpu": 1.9, "passes": 40, "ways": {}}
    return compared(told, batch, TOWER.gflop_per_image(), TOWER.n_products(), as_arranged)


def test_the_limit_is_what_the_fastest_products_allow() -> None:
    figures = _compared(_found(8, 0.4), 8)
    gflop = sum(TOWER.gflop_per_image().values())
    assert figures["gflops"] == pytest.approx(SPEED)
    assert figures["limit_per_s"] == pytest.approx(SPEED / gflop)
    assert figures["ratio"] == figures["session_ratio"] == pytest.approx((8 / 0.4) / (SPEED / gflop))
    assert "lanes_per_s" not in figures


def test_the_better_of_one_session_and_lanes_is_held_against_the_limit() -> None:
    figures = _compared(_found(8, 0.4, 0.32), 8)
    assert figures["lanes_per_s"] == pytest.approx(25)
    assert figures["ratio"] == figures["lanes_ratio"] > figures["session_ratio"]


def test_what_the_graph_saves_raises_its_own_limit_by_as_much() -> None:
    figures = _compared(_found(8, 0.4), 8)
    assert 0.05 < figures["saved_by_graph"] < 0.065  # three quarters of one block in twelve
    assert figures["ratio_of_graph"] == pytest.approx(figures["ratio"] * (1 - figures["saved_by_graph"]))


def test_products_within_the_attentions_count_like_all_others() -> None:
    found = _found(8, 0.4)
    as_fast = _compared(found, 8)
    assert as_fast["ratio_of_weights"] == pytest.approx(0.99 * as_fast["ratio"], rel=0.005)  # 1% of all work
    slow = {name: (5 if name.startswith("50x") else 1) * one for name, one in found["seconds"].items()}
    slower = _compared({"seconds": slow}, 8)  # at a fifth of the speed
    assert slower["ratio_of_weights"] == pytest.approx(as_fast["ratio_of_weights"])
    assert slower["ratio"] == pytest.approx(1.04 * as_fast["ratio"], rel=0.01)


class Clock:
    """Time as the runs spend it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 2 * self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_fastest_way_of_each_group_is_timed_in_passes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(), {"one": 0, "lanes": 0, "quick": 0, "slow": 0}
    monkeypatch.setattr(products, "time", clock)

    def run(name: str, seconds: float) -> Callable[[], None]:
        def once() -> None:
            calls[name] += 1
            clock.sleep(seconds)

        return once

    one, lanes = {"one": run("one", 9.0)}, {"lanes": run("lanes", 8.0)}
    shape = {"quick": run("quick", 2.0), "slow": run("slow", 2.1)}
    fastest, times = fastest_in_turns({"all": one | lanes, "one": one, "shape": shape}, 0.0)
    assert fastest == {"all": "lanes", "one": "one", "shape": "quick"}
    assert {way: len(passes) for way, passes in times.taken.items()} == dict.fromkeys(
        ("lanes", "one", "quick"), MIN_PASSES
    )
    n_calls = CHOOSING + MIN_PASSES + 2  # one warms each time
    assert calls == {"one": n_calls, "lanes": n_calls, "quick": n_calls, "slow": CHOOSING + 1}
    assert times.mean("lanes") == pytest.approx(8.0)
    assert times.cpu_s / times.wall_s == pytest.approx(2.0)


def test_luck_with_the_noise_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    monkeypatch.setattr(products, "time", clock)
    alike = {str(number): lambda: clock.sleep(rng.normal(10.0, 1.0)) for number in range(6)}
    in_own, in_chosen = [], []
    for _ in range(50):
        fastest, times = fastest_in_turns({"shape": alike}, 0.0)
        in_own.append(times.mean(fastest["shape"]))
        trial = in_turns(alike, CHOOSING, 0.0)
        in_chosen.append(min(map(trial.mean, alike)))
    assert np.mean(in_own) == pytest.approx(10.0, abs=0.1)
    assert np.mean(in_chosen) < 9.6


def test_short_runs_are_repeated_and_the_one_that_wakes_the_threads_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(products, "time", clock)
    ends: list[float] = []

    def session() -> None:
        is_first = not ends or clock.now - ends[-1] > 1e-9  # after a pause
        n_passes = max(0, len(ends) - 4) // 6
        clock.sleep(0.05 if is_first else 0.02 + 0.02 * (n_passes % 2))  # every other pass is a slow one
        ends.append(clock.now)

    times = in_turns({"session": session}, MIN_PASSES, 0.0)
    assert len(times.taken["session"]) == MIN_PASSES
    in_passes = len(ends) - 4  # 0.05 and three times 0.02 warm
    assert in_passes == 6 * MIN_PASSES  # one wakes, five are a tenth of a second
    assert min(times.taken["session"]) == pytest.approx(0.02)
    assert max(times.taken["session"]) == pytest.approx(0.04)


def test_a_machine_of_two_speeds_is_as_slow_for_all_on_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(products, "time", clock)

    def run(seconds: float) -> Callable[[], None]:
        """A third slower in two of three minutes."""
        return lambda: clock.sleep(seconds * (1.0 if clock.now % 180 < 60 else 1.33))

    times = in_turns({"session": run(3.0), "product": run(2.0)}, MIN_PASSES, 3600.0)
    assert times.mean("session") / times.mean("product") == pytest.approx(1.5, rel=0.01)
    assert times.mean("product") == pytest.approx(2.0 * 1.2, rel=0.01)  # three of five runs are slow ones


@pytest.fixture
def torch_threads() -> Iterator[int]:
    """Of this thread; afterwards new ones get as many again."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.usefixtures("torch_threads")
def test_every_way_multiplies_by_every_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = {lanes: products._pool(lanes, 2 // lanes) for lanes in (1, 2)}
    found: list[torch.Tensor] = []
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *args, out: found.append(mm(*args, out=out)))
    runs = products._products(6, 4, 3, 5, 2, pools)
    libraries = ("torch", "onnxruntime")
    assert runs.keys() == {f"4x3 by {one}, lanes: {lanes}" for one in libraries for lanes in pools}
    for lanes in pools:
        found.clear()
        runs[f"4x3 by torch, lanes: {lanes}"]()
        assert [tuple(one.shape) for one in found] == [(6 // lanes, 3)] * 5 * lanes
        runs[f"4x3 by onnxruntime, lanes: {lanes}"]()
    for pool in pools.values():
        pool.shutdown()


def test_a_session_of_products_multiplies_by_each_matrix() -> None:
    rng = np.random.default_rng(0)
    left = rng.standard_normal((6, 4), np.float32)
    matrices = [rng.standard_normal((4, 3), np.float32) for _ in range(5)]
    found = products._product_session(matrices, 1).run(None, {"left": left})
    assert len(found) == len(matrices)
    for one, matrix in zip(found, matrices, strict=True):
        np.testing.assert_allclose(one, left @ matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("torch_threads")
def test_a_session_runs_every_image_in_each_way(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["pixels"], ["seen"], to=onnx.TensorProto.FLOAT)],
        "cast",
        [value("pixels", onnx.TensorProto.UINT8, ["B", 2, 2, 3])],
        [value("seen", onnx.TensorProto.FLOAT, ["B", 2, 2, 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "cast.onnx")
    found: dict[tuple[int, str], list[int]] = {}
    for lanes in (1, 2):
        with products._pool(lanes, 2 // lanes) as pool:
            for batch in (1, 8, 16, 32):
                for way, run in products._session(
                    str(tmp_path / "cast.onnx"), batch, lanes, 2 // lanes, pool
                ).items():
                    parts = cast(list[list[NDArray[np.float32]]], run())
                    found[batch, way] = [len(parts[0])] if lanes == 1 else [len(part) for (part,) in parts]
    assert found == {
        (1, "session, lanes: 1"): [1],
        (8, "session, lanes: 1"): [8],
        (16, "session, lanes: 1"): [16],
        (32, "session, lanes: 1"): [32],
        (8, "session, lanes: 2"): [4, 4],
        (16, "session, lanes: 2"): [8, 8],
        (32, "session, lanes: 2"): [16, 16],
        (32, "session, lanes: 2, parts: 4"): [8, 8, 8, 8],
    }


def test_lanes_of_torch_leave_this_thread_its_own_number_of_threads(torch_threads: int) -> None:
    with products._pool(1, torch_threads + 1) as pool:
        assert pool.submit(torch.get_num_threads).result() == torch_threads + 1
    assert torch.get_num_threads() == torch_threads


def test_products_within_an_attention_are_those_of_all_heads(torch_threads: int) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((6, 5, 4), np.float32), rng.standard_normal((6, 4, 5), np.float32)
    session = products._batched_session(1)
    for by in (products._batched_by_torch, partial(products._batched_by_session, session)):
        out = np.zeros((6, 5, 5), np.float32)
        by(left, right, out)()
        np.testing.assert_allclose(out, left @ right, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("torch_threads")
def test_every_way_runs_the_heads_of_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = {lanes: products._pool(lanes, 1) for lanes in (1, 2)}
    found: list[tuple[int, ...]] = []
    bmm = torch.bmm

    def noted(*args: torch.Tensor, out: torch.Tensor) -> None:
        bmm(*args, out=out)
        found.append(tuple(out.shape))

    monkeypatch.setattr(torch, "bmm", noted)
    runs = products._within(6, (5, 4, 5), 3, 2, pools)
    libraries = ("torch", "onnxruntime")
    assert runs.keys() == {f"5x4x5 by {one}, lanes: {lanes}" for one in libraries for lanes in pools}
    for lanes in pools:
        found.clear()
        runs[f"5x4x5 by torch, lanes: {lanes}"]()
        assert found == [(6 // lanes, 5, 5)] * 3 * lanes
        runs[f"5x4x5 by onnxruntime, lanes: {lanes}"]()
    for pool in pools.values():
        pool.shutdown()
