"""The check of a GPU: absences are said, failures count, and one part never takes others along."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu_check import tiers
from benchmarks.gpu_check.__main__ import MINUTES, STOPS_WITHIN_S, _parser, until
from benchmarks.gpu_check.engines import wait_for_engines
from benchmarks.gpu_check.findings import Finding, absent, heard, tell
from benchmarks.gpu_check.parity import parity
from benchmarks.gpu_check.report import Conditions, as_json, as_markdown
from benchmarks.gpu_check.tiers import TIERS, Task, Tier, Work, findings
from benchmarks.serving.places import REPOSITORY
from support.child_python import python_path

CARD = {"name": "A card", "driver_version": "580.1", "memory.total": "80 GiB"}
CONDITIONS = Conditions(CARD, "16 cores", {"torch": "2.13"}, "abc", "2026-11-26", "make gpu-check", 61.0)


def work(until: float = float("inf")) -> Work:
    return Work(Task("cpu", "dry", "/nowhere", until))


def good(_: Work) -> Iterator[Finding]:
    yield Finding("tier", "limit", "good", {"tflops": 1.0})


def bad(_: Work) -> Iterator[Finding]:
    yield Finding("tier", "limit", "half")
    raise RuntimeError("a card\nfell over")


def lacking(_: Work) -> Iterator[Finding]:
    raise ModuleNotFoundError("No module named 'open_clip'", name="open_clip")
    yield


def of(**parts: object) -> list[Finding]:
    return list(findings("tier", Tier(lambda _: "", parts), work()))  # type: ignore[arg-type]


def test_a_part_that_fails_leaves_what_it_found_and_lets_the_others_go_on() -> None:
    found = of(bad=bad, good=good)
    assert [(one.kind, one.name) for one in found] == [
        ("limit", "half"),
        ("failed", "bad"),
        ("limit", "good"),
    ]
    assert found[1].note == "RuntimeError: a card fell over"
    assert [one.is_failure for one in found] == [False, True, False]


def test_it_has_ended_within_eight_minutes_also_where_a_tier_has_to_be_killed() -> None:
    assert until(MINUTES, 1_000.0) + STOPS_WITHIN_S <= 1_000.0 + 8 * 60
    parser = _parser()
    assert until(parser.parse_args(["--minutes", "1"]).minutes, 0.0) == 60 - STOPS_WITHIN_S
    with pytest.raises(SystemExit):
        parser.parse_args(["--minutes", "0.75"])


@pytest.mark.parametrize("package", ["torch", "onnx"])
def test_what_runs_graphs_lacks_what_they_need_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(tiers, "find_spec", lambda name: None if name == package else name)
    assert TIERS["onnxruntime"].lacks(work()) == f"package {package} is not installed"
    monkeypatch.setattr(tiers, "_no_card", lambda _: "")
    on_card = Work(Task("cuda", "dry", "/nowhere", 0.0))
    assert TIERS["tensorrt"].lacks(on_card) == f"package {package} is not installed"


def test_a_package_that_is_missing_is_absence_and_no_failure() -> None:
    (found,) = of(lacking=lacking)
    assert found == absent("tier", "lacking", "package open_clip is not installed")
    assert not found.is_failure


def test_a_tier_that_lacks_something_says_what_and_measures_nothing() -> None:
    (found,) = findings("tier", Tier(lambda _: "no card", {"good": good}), work())
    assert (found.kind, found.name, found.note) == ("absent", "tier", "no card")


def test_what_there_was_no_time_for_is_a_failure() -> None:
    (found,) = findings("tier", Tier(lambda _: "", {"good": good}), work(until=0.0))
    assert (found.is_failure, found.note) == (True, "the time was up before it began")


def test_findings_come_through_among_what_libraries_print(capsys: pytest.CaptureFixture[str]) -> None:
    told = Finding("torch", "rate", "eager fp16, images", {"1": 700.5, "best": 9e3}, None, "items a second")
    print("a library's own line")
    tell(told)
    lines = capsys.readouterr().out.splitlines()
    assert [heard(line) for line in lines] == [None, told]


def test_the_report_says_failures_and_absences_first_and_rates_by_their_limits() -> None:
    found = [
        Finding("torch", "limit", "products of fp16", {"tflops": 400.0}, note="8192 square"),
        Finding("torch", "limit", "copies page-locked to card", {"gb_per_s": 50.0}),
        Finding(
            "torch",
            "rate",
            "torch eager fp16, images",
            {"1": 700.0, "256": 9e3, "tflops": 100.0, "upload_gb_per_s": 5.0},
        ),
        Finding("onnxruntime", "parity", "onnxruntime fp16", {"image_cosine_min": 0.9991}, ok=True),
        Finding("onnxruntime", "failed", "server", ok=False, note="it ended with 1"),
        absent("tensorrt", "tensorrt", "package tensorrt is not installed"),
    ]
    text = as_markdown(CONDITIONS, found)
    head, verdict, *_ = text.split("\n\n")
    assert "A card, driver 580.1, 80 GiB; 16 cores. torch 2.13" in head
    assert verdict.splitlines() == [
        "1 of 2 checks passed.",
        "- FAILED: onnxruntime, server: it ended with 1",
        "- absent: tensorrt, tensorrt: package tensorrt is not installed",
    ]
    assert "|  | 1 | 256 | of products | of the upload |" in text
    assert "| torch eager fp16, images | 700 | 9,000 | 25% | 10% |" in text
    assert "Training" not in text, "what was not measured has no table"
    assert json.loads(as_json(CONDITIONS, found))["findings"][4]["note"] == "it ended with 1"


class Rows:
    """An encoder whose items are the numbers of rows that it has."""

    def __init__(self, images: np.ndarray, texts: np.ndarray) -> None:
        self.images, self.texts = images, texts

    def encode_image(self, pixels: np.ndarray) -> np.ndarray:
        return self.images[pixels]

    def encode_text(self, input_ids: np.ndarray) -> np.ndarray:
        return self.texts[input_ids]


def close_together(seed: int) -> np.ndarray:
    """(20, 64) of unit norm, all with cosines above 0.999, as random weights give them."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal(64) + 0.01 * rng.standard_normal((20, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_parity_tells_rows_that_changed_places_where_all_lie_close_together() -> None:
    images, texts, items = close_together(0), close_together(1), (np.arange(20), np.arange(20))
    assert parity("tier", "same", Rows(images, texts), items, (images, texts), "fp16").ok
    wrong = parity("tier", "moved", Rows(images, np.roll(texts, 1, axis=0)), items, (images, texts), "fp16")
    assert wrong.figures["text_cosine_min"] > 0.999, "a cosine alone would let it pass"
    assert (wrong.ok, wrong.figures["own_nearest"]) == (False, 0.0)


def test_parity_tells_an_encoder_whose_items_know_of_each_other() -> None:
    class Averaging(Rows):
        def encode_image(self, pixels: np.ndarray) -> np.ndarray:
            rows = self.images[pixels] + 0.1 * self.images[pixels].mean(axis=0)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    rows = np.eye(20, 64, dtype=np.float32)
    found = parity(
        "tier", "beside", Averaging(rows, rows), (np.arange(20), np.arange(20)), (rows, rows), "fp16"
    )
    assert (found.ok, found.figures["image_cosine_min"] > 0.999) == (False, True)
    assert found.figures["alone_cosine_min"] < 0.99999


BUILDING = {"state": "building", "reason": "the image tower"}
SERVING = {"state": "serving", "reason": "proven"}
UNAVAILABLE = {"state": "unavailable", "reason": "the text tower has other vectors"}


@pytest.mark.parametrize(
    ("states", "until", "ok", "note"),
    [
        ([[BUILDING, SERVING], [SERVING, SERVING]], float("inf"), True, ""),
        ([[BUILDING, SERVING], [UNAVAILABLE, SERVING]], float("inf"), False, UNAVAILABLE["reason"]),
        ([[BUILDING]], 0.0, False, "still building after 0 s"),
        ([[SERVING, None]], float("inf"), False, "the server was not asked for TensorRT"),
    ],
)
def test_engines_are_waited_for_until_all_serve_or_one_never_will(
    states: list[list[dict[str, str] | None]], until: float, ok: bool, note: str
) -> None:
    told, slept = iter(states), list[float]()
    found = wait_for_engines(lambda: next(told), "engines built", until, slept.append)
    assert (found.ok, found.note, len(slept)) == (ok, note, len(states) - 1)


def test_a_machine_without_a_card_gets_a_list_that_says_so_and_no_failure(tmp_path: Path) -> None:
    ended = check(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "0 of 0 checks passed." in ended.stdout
    for tier in TIERS:
        assert f"- absent: {tier}, {tier}: " in ended.stdout
    assert (tmp_path / "gpu-check.md").read_text(encoding="utf-8").strip() == ended.stdout.strip()
    assert check(tmp_path, "--require", "torch", "--tiers", "torch").returncode == 1


@pytest.mark.long
def test_a_dry_run_goes_through_everything_that_a_cpu_can(tmp_path: Path) -> None:
    ended = check(tmp_path, "--device", "cpu")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads((tmp_path / "gpu-check.json").read_text(encoding="utf-8"))
    kinds = {(one["tier"], one["kind"]) for one in told["findings"]}
    assert kinds >= {
        ("graphs", "made"), ("torch", "limit"), ("torch", "parity"), ("torch", "rate"), ("torch", "training"),
        ("onnxruntime", "parity"), ("onnxruntime", "rate"), ("onnxruntime", "serving"), ("faiss", "search"),
    }  # fmt: skip
    assert "its figures say nothing" in ended.stdout


def check(out: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Where no card can be seen."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", "--out", str(out), *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": python_path(), "CUDA_VISIBLE_DEVICES": ""},
    )
