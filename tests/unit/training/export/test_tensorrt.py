"""A version's graphs compiled for a GPU, by a stand-in for onnxruntime's TensorRT provider."""

import re
from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.golden import read_golden
from diptych.bundle.repository import ModelRepository
from diptych.errors import GoldenMismatch
from diptych_training.cli import main
from diptych_training.errors import ExportError
from diptych_training.export.tensorrt import CompiledEncoder, compile_version
from support.fake_onnxruntime import FakeCuda
from support.moved_bytes import write_moved_bytes_bundle
from support.tiny_bundle import TINY, write_tiny_bundle


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda().install(monkeypatch)


def compiled(folder: Path) -> list[Path]:
    return compile_version(ModelRepository(folder / "repo"), TINY, 1, folder / "out", print)


def test_each_precision_for_gpus_is_compiled_with_its_engine_inside(cuda: FakeCuda, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo", precisions={"fp32": "equal", "fp16": "equal", "int8": "equal"})
    files = compiled(tmp_path)
    assert [file.name for file in files] == [
        f"{tower}_encoder{precision}_ctx.onnx" for precision in ("", ".fp16") for tower in ("image", "text")
    ]
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    options = cuda.tensorrt_options[0]
    assert options["trt_profile_max_shapes"].startswith("pixels:256x")
    assert "trt_engine_cache_path" not in options


def test_compiled_models_run_without_the_version(cuda: FakeCuda, tmp_path: Path) -> None:
    write_moved_bytes_bundle(tmp_path / "repo", tmp_path / "plain")  # whose weights are in files of their own
    image, text = compiled(tmp_path)
    golden = read_golden(tmp_path / "repo" / TINY / "1" / "golden.npz")
    rows = CompiledEncoder(image, text).encode_image(golden.pixels)
    np.testing.assert_allclose(rows, golden.image_embedding, atol=1e-5)


def test_graph_that_tensorrt_takes_in_part_is_refused(cuda: FakeCuda, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    cuda.takes_whole_graphs = False
    with pytest.raises(ExportError, match=r"no model of image_encoder\.onnx: .* takes the whole graph"):
        compiled(tmp_path)


def test_compiled_models_with_other_vectors_are_not_kept(cuda: FakeCuda, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    cuda.turns_compiled = True
    with pytest.raises(GoldenMismatch):
        compiled(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (
            ["--from-version", "1", "--tensorrt", "/nowhere"],
            "onnxruntime .* is built without CUDAExecutionProvider",
        ),
        (["--from-version", "1"], "--from-version needs --add-proof-set or --tensorrt, and not --run"),
        (["--from-version", "1", "--run", "mine", "--tensorrt", "/nowhere"], "and not --run"),
        (
            ["--from-version", "1", "--add-proof-set", "--tensorrt", "/nowhere"],
            "--add-proof-set compiles nothing",
        ),
        (["--tensorrt", "/nowhere"], "--run is required"),
    ],
)
def test_command_without_a_gpu_or_with_other_flags_says_why(
    flags: list[str], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_tiny_bundle(tmp_path / "repo")
    assert main(["export", "--name", TINY, "--model-repo", str(tmp_path / "repo"), *flags]) == 1
    assert re.search(complaint, capsys.readouterr().err)
