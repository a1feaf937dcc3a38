"""The check of a GPU: absences are said, failures count, and its table can be kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.gpu_check import CHECKS, Task, check_faiss, check_tensorrt
from benchmarks.servers import REPOSITORY
from support.child_python import python_path
from support.fake_cuda_bindings import FakeGpu
from support.fake_faiss_gpu import FakeFaissGpu
from support.fake_onnxruntime import FakeCuda
from support.tiny_bundle import TINY, write_tiny_bundle


def check(*flags: str) -> "subprocess.CompletedProcess[str]":
    """Where no GPU can be seen."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": python_path(), "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.mark.long
def test_machine_without_a_gpu_gets_a_table_that_says_so_and_no_failure(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = "<!-- gpu-check:begin -->\n", "<!-- gpu-check:end -->\nafter\n"
    page.write_text(f"before\n{begin}Not yet run.\n{end}")
    ended = check("--write", str(page))
    assert ended.returncode == 0, ended.stderr
    for name in CHECKS:
        assert f"| {name} |  | absent | " in ended.stdout
    assert page.read_text() == f"before\n{begin}{ended.stdout}{end}"
    assert check("--require", "faiss").returncode == 1


@pytest.mark.long
def test_dry_run_goes_through_what_a_cpu_can(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    ended = check("--device", "cpu", "--model-repo", str(tmp_path), "--model", TINY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| encoders | tiny fp32 | passed | cosines from 1.000000; images/s by batch 1: " in ended.stdout
    assert "| training | ViT-B/32 fp32 | passed | " in ended.stdout


def test_searches_of_the_gpu_are_held_against_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeFaissGpu().install(monkeypatch)
    monkeypatch.setattr(Task, "n_rows", 3_000)
    task = Task("model_repo", TINY, on_gpu=True, is_quick=True)
    (row,) = check_faiss(task)
    assert (row.ok, "50 of 50 with the same hits" in row.said) == (True, True)
    gpu.noise = 1e-3
    (row,) = check_faiss(task)
    assert not row.ok


def test_engines_are_built_proven_and_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cuda = FakeCuda(gpu=FakeGpu()).install(monkeypatch)
    monkeypatch.setattr(gpu_check, "require_tensorrt", lambda: cuda.tensorrt)
    write_tiny_bundle(tmp_path, precisions={"fp32": "equal", "fp16": "equal"})
    monkeypatch.setattr(Task, "batches", (1, 4))
    monkeypatch.setattr(Task, "seconds", 0.01)
    task = Task(str(tmp_path), TINY, on_gpu=True, is_quick=True)
    rows = list(check_tensorrt(task))
    assert [(row.what, row.ok) for row in rows] == [("tiny fp32", True), ("tiny fp16", True)]
    assert "built in" in rows[0].said and "images/s by batch 1: " in rows[0].said
    cuda.turns_from = 2
    assert [row.ok for row in check_tensorrt(task)] == [False, False]
