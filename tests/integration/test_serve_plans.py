"""Versions built by TensorRT: served on the machine they are for, ignored elsewhere with the reason."""

import asyncio
import logging
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.bundle.repository import ModelRepository
from diptych.cli import main
from diptych.core.services import Services
from diptych.core.tuning.precision import DeviceChoice
from diptych.errors import ConfigError, CorruptBundle
from diptych.settings import Settings
from diptych.wiring.loading.version_choice import check_choice
from diptych.wiring.services import build
from support.fake_cuda_bindings import FakeGpu
from support.fake_tensorrt import FakeTensorrt
from support.pictures import picture
from support.tiny_bundle import TINY, write_tiny_bundle
from support.tiny_plans import write_tiny_plans

FIXED_PLAN = {"n_lanes": 1, "max_batch_size": 16, "n_decode_threads": 1, "n_threads": 1}


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorrt:
    return FakeTensorrt(FakeGpu()).install(monkeypatch)


def settings(folder: Path, **given: Any) -> Settings:
    fixed = {"model_repo": folder / "repo", "model": TINY, "data_dir": folder / "data"}
    return Settings(**{**fixed, **FIXED_PLAN, **given})


async def _described(services: Services) -> dict[str, Any]:
    """Return the served version, the ignored ones by `/models`, and the vector of a picture."""
    await services.start()
    try:
        (model,) = await services.catalogue.models()
        item = await services.active.now.embedder.embed_image(picture("red"))
        return {
            "version": model.active,
            "ignored": model.ignored,
            "device": None if model.serving is None else model.serving.device,
            "provider": services.active.now.model.provider,
            "vector": np.asarray(getattr(item, "embedding", item)),
        }
    finally:
        await services.close()


def started(folder: Path, **given: Any) -> dict[str, Any]:
    """Start a server with a new data folder."""
    data_dir = folder / f"data-{secrets.token_hex(4)}"
    return asyncio.run(_described(build(settings(folder, data_dir=data_dir, **given))))


def test_plans_are_served_on_the_gpu_that_they_were_built_on(tensorrt: FakeTensorrt, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    exact = started(tmp_path, device="cpu")
    assert write_tiny_plans(tmp_path / "repo", tensorrt) == 2
    found = started(tmp_path)
    assert (found["version"], found["ignored"], found["provider"]) == (2, {}, "TensorRT")
    why = "the version was built by TensorRT for this GPU"
    assert found["device"] == DeviceChoice("TensorRT", "NVIDIA H100", why)
    np.testing.assert_allclose(found["vector"], exact["vector"], atol=1e-5)


@pytest.mark.parametrize(
    ("made", "given", "reason"),
    [
        ({"gpu": "NVIDIA A10"}, {}, "here is NVIDIA H100 (compute capability 9.0)"),
        ({"compute_capability": "8.0"}, {}, "here is NVIDIA H100 (compute capability 9.0)"),
        ({"version": "10.13.3.9"}, {}, "here is TensorRT 10.16.1.11"),
        ({}, {"device": "cpu"}, "DIPTYCH_DEVICE is cpu"),
    ],
)
def test_plans_for_another_machine_are_ignored_and_the_newest_other_version_serves(
    made: dict[str, str],
    given: dict[str, Any],
    reason: str,
    tensorrt: FakeTensorrt,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt, **made)
    with caplog.at_level(logging.WARNING):
        found = started(tmp_path, **given)
    assert (found["version"], found["provider"]) == (2, "CPUExecutionProvider")
    assert list(found["ignored"]) == [3]
    assert found["ignored"][3].endswith(reason)
    assert f"tiny/3 is ignored, tiny/2 is served instead: {found['ignored'][3]}" in caplog.text


def test_missing_driver_or_tensorrt_is_the_reason(tensorrt: FakeTensorrt, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt)
    tensorrt.gpu.fails["cudaGetDeviceCount"] = "cudaErrorNoDevice"
    assert "the NVIDIA driver finds no GPU" in started(tmp_path)["ignored"][2]


def test_requested_version_for_another_machine_is_an_error(tensorrt: FakeTensorrt, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt, gpu="NVIDIA A10")
    why = r"tiny/2 cannot be served here: it is for NVIDIA A10 .*: here is NVIDIA H100"
    with pytest.raises(ConfigError, match=why):
        check_choice(settings(tmp_path, version=2))
    assert started(tmp_path, version=1)["version"] == 1


def test_model_with_only_plans_for_other_machines_is_an_error_that_names_each(
    tensorrt: FakeTensorrt, tmp_path: Path
) -> None:
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt, gpu="NVIDIA A10")
    write_tiny_plans(tmp_path / "repo", tensorrt, version="11.4.0.106")
    (tmp_path / "repo" / TINY / "1").rename(tmp_path / "elsewhere")
    with pytest.raises(
        ConfigError, match=r"tiny/3 cannot be .* TensorRT 10\.16\.1\.11; tiny/2 cannot be .* H100"
    ):
        build(settings(tmp_path))


def test_plans_that_fail_to_load_are_replaced_by_the_version_they_were_built_from(
    tensorrt: FakeTensorrt, tmp_path: Path
) -> None:
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt)
    tensorrt.turns_large_batches = 2  # of more items than that: the golden images
    found = started(tmp_path)
    assert found["version"] == 1
    assert "golden image" in found["ignored"][2]
    with pytest.raises(Exception, match="golden image"):
        build(settings(tmp_path, version=2))


def test_changed_plan_never_reaches_tensorrt(tensorrt: FakeTensorrt, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt)
    file = tmp_path / "repo" / TINY / "2" / "image_encoder.fp16.plan"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(CorruptBundle, match=r"image_encoder\.fp16\.plan: sha256 is"):
        build(settings(tmp_path, version=2))
    found = started(tmp_path)
    assert (found["version"], tensorrt.n_contexts) == (1, 0)
    assert "sha256" in found["ignored"][2]


def test_check_proves_plans_for_this_machine_and_verifies_the_files_of_others(
    tensorrt: FakeTensorrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt)
    write_tiny_plans(tmp_path / "repo", tensorrt, gpu="NVIDIA A10")
    assert main(["check", "--model-repo", str(tmp_path / "repo")]) == 0
    said = capsys.readouterr().out
    assert "tiny/2  sound   fp16" in said
    assert "on TensorRT, NVIDIA H100: the version was built by TensorRT for this GPU" in said
    assert "tiny/3  files are sound, ignored here: it is for NVIDIA A10" in said
    file = tmp_path / "repo" / TINY / "3" / "text_encoder.fp16.plan"
    file.write_bytes(b"x" + file.read_bytes()[1:])
    assert main(["check", f"{TINY}/3", "--model-repo", str(tmp_path / "repo")]) == 1


def test_latest_version_of_training_is_one_of_onnx_graphs(tensorrt: FakeTensorrt, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    write_tiny_plans(tmp_path / "repo", tensorrt)
    repository = ModelRepository(tmp_path / "repo")
    assert (repository.latest(TINY), repository.latest_portable(TINY)) == (2, 1)
