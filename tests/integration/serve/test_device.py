"""The device of the encoders and its reasons: real bundles and graphs, on a GPU that the CPU imitates."""

import json
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.bundle.repository import ModelRepository
from diptych.cli import main
from diptych.core.tuning.execution_layout import GPU_BATCH_SIZES
from diptych.core.tuning.precision import DeviceChoice
from diptych.errors import BundleError, ConfigError, EncoderFailed, GoldenMismatch
from diptych.settings import Settings
from diptych.wiring.loading import bundles
from diptych.wiring.loading.bundles import LoadedBundle, load_precision, verify_bundle
from diptych.wiring.loading.golden import warmed
from diptych.wiring.precisions.chosen import ChosenPrecision, load_chosen
from diptych.wiring.services import build
from diptych.wiring.tuning import measuring
from diptych.wiring.tuning.planning import PLAN_FILE, with_plan
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
    assert [one.error for one in found.choice.candidates] == [None, None, "int8 is for a CPU"]
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


def test_named_precision_that_fails_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(wrong_precisions=("fp16",)).install(monkeypatch)
    with pytest.raises(GoldenMismatch) as told:
        served(tmp_path, ALL, precision="fp16", device="cuda")
    assert told.value.__traceback__ is not None
    assert cuda.n_freed == 2


def test_version_that_fails_while_warming_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    write_tiny_bundle(tmp_path / "repo")
    monkeypatch.setattr("diptych.wiring.version_loader.warmed", _fail)
    repo = {"model_repo": tmp_path / "repo", "model": TINY}
    with pytest.raises(ConfigError, match="tiny/1 cannot be served here: the encoder raised"):
        build(settings(tmp_path, device="cuda", max_batch_size=4, **repo))
    assert cuda.n_freed == 2


def _fail(loaded: LoadedBundle) -> LoadedBundle:
    raise EncoderFailed("the encoder raised RuntimeError on a batch of 4")


def test_gpu_without_fp16_serves_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    found = served(tmp_path, {"fp32": "equal", "int8": "equal"})
    assert (found.device.provider, found.loaded.precision) == (CUDA, "fp32")


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


def test_reason_has_the_message_of_the_runtime_when_a_batch_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(run_fails_with=RuntimeError("no kernel image is available")).install(monkeypatch)
    reason = served(tmp_path).device.reason
    assert reason.startswith("no GPU: fp32 fails on it: the encoder raised RuntimeError on a batch of 3: ")
    assert reason.endswith(": no kernel image is available")


def test_fallback_warns_only_with_a_runtime_built_for_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda(falls_back=True).install(monkeypatch)
    for expected in (1, 0):
        caplog.clear()
        served(tmp_path)
        warnings = [line for line in caplog.records if line.levelname == "WARNING"]
        assert len(warnings) == expected
        cuda.is_offered = False


def test_operators_that_run_on_the_cpu_are_logged_and_if_all_do_the_gpu_is_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda(cpu_operators=("Cast", "Gather")).install(monkeypatch)
    with caplog.at_level("INFO", "diptych.onnx"):
        assert served(tmp_path).device.provider == CUDA
    assert re.search(
        r"image_encoder.onnx: 1 of \d+ operators do not run on CUDAExecutionProvider: 1 Cast on CPUE",
        caplog.text,
    )
    cuda.cpu_operators = ("Gather", "ReduceSum", "LpNormalization")
    reason = served(tmp_path).device.reason
    assert "text_encoder.onnx: CUDAExecutionProvider runs none of its operators" in reason


def test_later_precision_that_fails_on_the_gpu_is_left_out_without_changing_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(wrong_precisions=("fp16",)).install(monkeypatch)
    found = served(tmp_path, {"fp32": "equal", "fp16": "equal"})
    assert (found.device.provider, found.loaded.precision) == (CUDA, "fp32")
    _, fp16 = found.choice.candidates
    assert re.match(r"golden image \d: cosine is -1\.000000", str(fp16.error))


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


def test_error_at_the_start_names_the_setting_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda(is_offered=False).install(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"^DIPTYCH_DEVICE=cuda is not available: onnxruntime .* server\[gpu\]"
    ):
        served(tmp_path, device="cuda")
    cuda.is_offered, cuda.gpu.cuda = True, 0
    with pytest.raises(ConfigError, match="no NVIDIA driver is installed"):
        served(tmp_path, device="cuda")


def _raise(message: str) -> Any:
    raise ConfigError(message)


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


def test_check_names_the_device_and_proves_cpu_precisions_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    write_tiny_bundle(tmp_path, precisions=ALL)
    assert main(["check", "--model-repo", str(tmp_path)]) == 0
    head, device, choice, *candidates = capsys.readouterr().out.splitlines()
    assert head == "tiny/1  sound   fp32, fp16, int8"
    assert device == "  on CUDAExecutionProvider, A card: fp32 passed on it"
    assert choice.startswith("  auto is fp16: ")
    assert candidates[2] == "    int8  int8 is for a CPU"
    assert len(cuda.options) == 4
    assert cuda.n_freed == 4, "before the next version is loaded"


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


def test_plans_are_kept_separately_for_each_gpu(loaded: LoadedBundle, tmp_path: Path) -> None:
    given = settings(tmp_path)
    plans = []
    for name in ("A card", "Another card", "A card"):
        loaded.encoder.device_name = name
        plans.append(vars(with_plan(loaded, given).plan))
    assert plans[2] == plans[0]
    assert list(json.loads((given.data_dir / PLAN_FILE).read_text()).values()) == plans[:2]


def test_warming_runs_batches_of_many_sizes_and_lengths_on_a_gpu(
    cuda: FakeCuda, loaded: LoadedBundle, tmp_path: Path
) -> None:
    planned = with_plan(loaded, settings(tmp_path, max_batch_size=6))
    cuda.ran.clear()
    warmed(planned)
    images = [(size, IMAGE_SIZE, IMAGE_SIZE, 3) for size in (1, 2, 4, 6)]
    texts = [(size, length) for length in (8, 16, CONTEXT_LENGTH) for size in (1, 2, 4, 6)]
    assert cuda.ran == [*images, *texts]
