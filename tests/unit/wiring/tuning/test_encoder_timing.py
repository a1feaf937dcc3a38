"""The times that decide the precision: measured once and reused at every start."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.adapters.files.plan_file import PlanFile
from diptych.bundle.manifest import (
    GOLDEN_FILE,
    TOKENIZER_FILE,
    FileEntry,
    Manifest,
    Precision,
    complete,
)
from diptych.core.tuning.interleaved import median_seconds
from diptych.core.tuning.precision import Candidate, EncoderTiming, choose
from diptych.wiring.tuning import encoder_timing
from diptych.wiring.tuning.encoder_timing import encoder_timings, item_ms
from support.bundle_examples import draft, parity

GOLDEN = SimpleNamespace(pixels=[1], input_ids=[2])


def manifest(graph: str) -> Manifest:
    """Return that of a version in three precisions; `graph` is the sha256 of each of its files."""
    graphs = {"image_file": "image_encoder.onnx", "text_file": "text_encoder.onnx"}
    precisions = {name: Precision(**graphs, parity=parity()) for name in ("fp32", "fp16", "int8")}
    files = dict.fromkeys([*graphs.values(), TOKENIZER_FILE, GOLDEN_FILE], FileEntry(sha256=graph, bytes=1))
    return complete(draft(precisions=precisions), "m", 1, datetime.now(UTC), files)


class Start:
    """Starts of a server with one version, on a machine whose times differ between starts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, gains: Sequence[float]) -> None:
        self._bundle: Any = SimpleNamespace(manifest=manifest(graph="1" * 64), golden=GOLDEN)
        self._kept = PlanFile(folder / "plans.json")
        self._gains = iter(gains)
        self.n_measured = 0
        monkeypatch.setattr(encoder_timing, "item_ms", self._item_ms)

    def take(self, manifest: Manifest) -> None:
        """Start another version from now on."""
        self._bundle.manifest = manifest

    def _item_ms(self, encoders: Any, items: Any, cost: Any) -> dict[str, float]:
        if items is GOLDEN.input_ids:
            return dict.fromkeys(encoders, 2.0)
        self.n_measured += 1
        gain = next(self._gains)
        return {name: 10.0 / (gain if name == "int8" else 1) for name in encoders}

    def __call__(self, *precisions: str, n_threads: int = 2, keeps: bool = True) -> dict[str, EncoderTiming]:
        encoders: Any = {
            name: SimpleNamespace(
                provider="CPUExecutionProvider",
                device_name=None,
                encode_image=None,
                encode_text=None,
            )
            for name in precisions or ("fp32", "int8")
        }
        kept = self._kept if keeps else None
        return encoder_timings(self._bundle, encoders, n_threads=n_threads, plan_file=kept)


def chosen(paces: dict[str, EncoderTiming]) -> str:
    timed = [Candidate(name, True, None, pace.image_ms, pace.text_ms) for name, pace in paces.items()]
    return choose(timed).precision


def test_choice_near_the_bound_is_the_same_at_every_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(tmp_path, monkeypatch, gains=[1.8, 1.5])
    first, second = start(), start()
    assert first == second
    assert (chosen(first), start.n_measured) == ("int8", 1)
    assert chosen(start(keeps=False)) == "fp32", "measured anew it would be the other one"


def test_other_versions_threads_or_precisions_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(tmp_path, monkeypatch, gains=[2.0] * 4)
    start("fp32", "int8")
    start("fp32", "int8", n_threads=1)
    start("fp16", "fp32")
    start.take(manifest(graph="2" * 64))
    start("fp32", "int8")
    assert start.n_measured == 4


def test_version_with_the_same_graphs_has_the_same_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(tmp_path, monkeypatch, gains=[2.0])
    first = start()
    start.take(manifest(graph="1" * 64).model_copy(update={"version": 2, "metrics": {"top1": 1.0}}))
    assert start() == first


@pytest.mark.parametrize(("item_s", "size"), [(0.001, 16), (0.01, 12), (30.0, 1)])
def test_all_precisions_run_on_the_same_items_in_batches_that_suit_their_speed(
    item_s: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    batches: dict[str, list[list[int]]] = {"fp32": [], "int8": []}

    def clock() -> float:
        return now

    def encode(name: str, items: Any) -> None:
        nonlocal now
        now += item_s * len(items)
        batches[name].append(items.tolist())

    monkeypatch.setattr(encoder_timing, "median_seconds", partial(median_seconds, clock=clock))
    encoders = {name: partial(encode, name) for name in batches}
    found = item_ms(encoders, np.arange(3, dtype=np.int32), clock)
    assert found == pytest.approx(dict.fromkeys(batches, 1000 * item_s))
    assert batches["fp32"] == batches["int8"]
    assert (batches["fp32"][0], len(batches["fp32"][-1])) == ([0], size)
