"""The device of the encoders and its reasons: real bundles and graphs, on a GPU that the CPU imitates."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.bundle.repository import ModelRepository
from diptych.core.tuning.execution_layout import GPU_BATCH_SIZES
from diptych.core.tuning.precision import DeviceChoice
from diptych.errors import BundleError, ConfigError, GoldenMismatch
from diptych.settings import Settings
from diptych.wiring.loading import bundles
from diptych.wiring.loading.bundles import LoadedBundle, load_precision, verify_bundle
from diptych.wiring.loading.golden import warmed
from diptych.wiring.precisions.chosen import ChosenPrecision, load_chosen
from diptych.wiring.tuning import measuring
from diptych.wiring.tuning.planning import with_plan
from support.app import running_app
from support.fake_onnxruntime import CARD, CPU, CUDA, FakeCuda
from support.pictures import noise, picture
from support.tiny_bundle import CONTEXT_LENGTH, IMAGE_SIZE, TINY, Fault, write_tiny_bundle

ALL: dict[str, Fault] = {"fp32": "slow", "fp16": "equal", "int8": "equal"}


def served(folder: Path, precisions: dict[str, Fault] | None = None, **given: Any) -> ChosenPrecision:
    version = write_tiny_bundle(folder, precisions=precisions)
    options = {
        "precision": "auto",
        "reason": "set by DIPTYCH_PRECISION",
        "device": "auto",
        "n_threads": 1,
    }
    return load_chosen(verify_bundle(ModelRepository(folder).folder(TINY, version)), **(options | given))


@pytest.mark.parametrize(
    ("device", "reason"), [("auto", "fp32 passed on it"), ("cuda", "set by DIPTYCH_DEVICE")]
)
def test_gpu_is_chosen_if_a_session_opens_on_it_and_the_version_has_fp16(
    device: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    found = served(tmp_path, ALL, device=device)
    assert found.device == DeviceChoice(CUDA, CARD, reason)
    assert found.loaded.precision == "fp16"
    assert found.loaded.encoder.provider == CUDA
    refusals = ["bf16 is for a CPU", "int8 is for a CPU"]
    assert [one.error for one in found.choice.candidates] == [None, None, *refusals]
    assert len(cuda.options) == 4  # two towers of two precisions: int8 was not tried
    assert all(options["use_tf32"] == 0 for options in cuda.options)


def test_precision_that_is_not_chosen_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    made: list[weakref.ref[Any]] = []
    open_encoder = bundles.OnnxEncoder

    def remembered(*values: Any, **options: Any) -> Any:
        encoder = open_encoder(*values, **options)
        made.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(bundles, "OnnxEncoder", remembered)
    found = served(tmp_path, ALL)
    assert len(made) == 2
    assert [one() for one in made if one() is not None] == [found.loaded.encoder]
    assert cuda.n_freed == 2, "both towers"


def test_requested_cpu_is_not_reported_as_a_fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    found = served(tmp_path, device="cpu")
    assert found.device == DeviceChoice(CPU, None, "set by DIPTYCH_DEVICE")
    assert cuda.options == []


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ({"is_offered": False}, "is built without CUDAExecutionProvider"),
        (
            {"falls_back": True},
            "CUDAExecutionProvider was requested, but onnxruntime uses CPUExecutionProvider",
        ),
        ({"fails_with": RuntimeError("CUDA failure 2: out of memory")}, "CUDA failure 2: out of memory"),
        ({"wrong_precisions": ("encoder",)}, "fp32 fails on it: golden image"),
    ],
)
def test_unavailable_gpu_falls_back_to_the_cpu_unless_it_was_requested(
    machine: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(**machine).install(monkeypatch)
    found = served(tmp_path)
    assert (found.device.provider, found.device.name) == (CPU, None)
    assert found.device.reason.startswith("no GPU: ")
    assert why in found.device.reason
    assert found.loaded.encoder.provider == CPU
    with pytest.raises((ConfigError, BundleError), match=why.removeprefix("fp32 fails on it: ")):
        served(tmp_path, device="cuda")


def test_named_cpu_precision_makes_auto_choose_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    for given in ({"precisions": {"int8": "equal"}}, {"precisions": ALL, "precision": "int8"}):
        found = served(tmp_path, **given)
        assert found.device == DeviceChoice(CPU, None, "no GPU is tried: int8 is for a CPU")
        assert found.loaded.precision == "int8"
    assert cuda.options == []


def test_broken_version_is_refused_with_its_own_error_not_that_of_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda().install(monkeypatch)
    with pytest.raises(BundleError, match="fp32: golden image 1: cosine is"):
        served(tmp_path, {"fp32": "broken"})
    with pytest.raises(GoldenMismatch, match="golden image 1: cosine is"):
        served(tmp_path, {"fp32": "broken"}, precision="fp32", device="cuda")


def test_models_name_the_gpu_and_requests_get_the_vectors_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [("image", (f"{n}.png", noise(n))) for n in range(11)] + [("text", (None, "red thing"))]
    with running_app(tmp_path, device="cpu") as client:
        expected = [row["embedding"] for row in client.post("/embed", files=files).json()["data"]]
    FakeCuda().install(monkeypatch)
    with running_app(tmp_path, max_batch_size=6, device="auto") as client:
        rows = [row["embedding"] for row in client.post("/embed", files=files).json()["data"]]
        (model,) = client.get("/models").json()["models"]
        version = client.get("/version").json()
        metrics = client.get("/metrics").text
        added = client.post("/collections/default/images", files=[("image", ("a.png", picture("red")))])
        hits = client.get("/search", params={"q": "red"}).json()["hits"]
    assert model["serving"]["device"] == {"provider": CUDA, "name": "A card", "reason": "fp32 passed on it"}
    assert (version["provider"], added.status_code, len(hits)) == (CUDA, 200, 1)
    assert f'precision="fp32",provider="{CUDA}"' in metrics
    np.testing.assert_allclose(rows, expected, atol=1e-6)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda().install(monkeypatch)


@pytest.fixture
def loaded(cuda: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedBundle:
    """Load a precision on the GPU of `FakeCuda`."""
    for name in ("IMAGE_S", "TEXT_S"):
        monkeypatch.setattr(measuring, name, 0.02)
    write_tiny_bundle(tmp_path / "repo")
    bundle = verify_bundle(ModelRepository(tmp_path / "repo").folder(TINY, 1))
    return load_precision(bundle, "fp32", device="cuda", n_threads=2)


def settings(folder: Path, **given: object) -> Settings:
    return Settings(**{"data_dir": folder / "data", "n_threads": 2, **given})


def test_plan_of_a_gpu_has_one_lane_and_batches_of_its_own_sizes(
    loaded: LoadedBundle, tmp_path: Path
) -> None:
    plan = with_plan(loaded, settings(tmp_path, n_lanes=4)).plan
    assert plan.n_lanes == 1
    assert {plan.image_batch_size, plan.text_batch_size} <= set(GPU_BATCH_SIZES)


def test_warming_runs_batches_of_many_sizes_and_lengths_on_a_gpu(
    cuda: FakeCuda, loaded: LoadedBundle, tmp_path: Path
) -> None:
    planned = with_plan(loaded, settings(tmp_path, max_batch_size=6))
    cuda.ran.clear()
    warmed(planned)
    images = [(size, IMAGE_SIZE, IMAGE_SIZE, 3) for size in (1, 2, 4, 6)]
    texts = [(size, length) for length in (8, 16, CONTEXT_LENGTH) for size in (1, 2, 4, 6)]
    assert cuda.ran == [*images, *texts]
