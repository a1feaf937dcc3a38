"""Serving in bf16: fp32 graphs that OpenVINO's plugin runs. Real bundles, and a plugin that is imitated."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.bundle.repository import ModelRepository
from diptych.cli import main
from diptych.core.tuning.precision import Candidate, DeviceChoice, EncoderTiming
from diptych.errors import BundleError, ConfigError, GoldenMismatch
from diptych.settings import Settings
from diptych.wiring.loading.bundles import verify_bundle
from diptych.wiring.precisions import chosen
from diptych.wiring.precisions.chosen import ChosenPrecision, load_chosen
from diptych.wiring.tuning import encoder_timing
from diptych.wiring.tuning.planning import PLAN_FILE, plan_file_of
from support.app import running_app
from support.fake_openvino import OPENVINO, FakeOpenVino
from support.pictures import picture
from support.tiny_bundle import IMAGE_SIZE, TINY, Fault, write_tiny_bundle

TWO: dict[str, Fault] = {"fp32": "equal", "int8": "equal"}
RECORDED = "named by the data folder or by an activation"
ADVICE = "`diptych models activate tiny --precision bf16` tries it"
ONE_IMAGE = (1, IMAGE_SIZE, IMAGE_SIZE, 3)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> FakeOpenVino:
    return FakeOpenVino().install(monkeypatch)


@pytest.fixture
def bf16_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    ms = {"fp32": 5.0, "bf16": 2.0, "int8": 1.5}
    monkeypatch.setattr(
        chosen,
        "encoder_timings",
        lambda _, encoders, **__: {name: EncoderTiming(ms[name], ms[name]) for name in encoders},
    )


def served(folder: Path, **given: Any) -> ChosenPrecision:
    version = write_tiny_bundle(folder, precisions=TWO)
    options = {"precision": "auto", "reason": "named", "device": "cpu", "n_threads": 2}
    return load_chosen(verify_bundle(ModelRepository(folder).folder(TINY, version)), **(options | given))


def serving(client: TestClient) -> dict[str, Any]:
    (model,) = client.get("/models").json()["models"]
    return dict(model["serving"])


@pytest.mark.usefixtures("bf16_is_fast")
def test_new_data_folder_serves_and_records_bf16_where_it_reaches_two_thirds_of_int8(
    tmp_path: Path, plugin: FakeOpenVino
) -> None:
    plugin.turned = 0.01
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, n_threads=2, n_lanes=2) as client:
        client.post("/collections/default/images", files=[("image", ("a.png", picture("red")))])
        found = serving(client)
        assert client.get("/search", params={"q": "red"}).json()["model"]["precision"] == "bf16"
        assert client.get("/collections/default").json()["vectors"]["precision"] == "bf16"
    assert [one["precision"] for one in found["candidates"]] == ["fp32", "bf16", "int8"]
    assert (found["precision"], found["running"]["provider"]) == ("bf16", OPENVINO)
    assert found["plan"]["n_lanes"] == 1, "one batch at a time, on all threads"
    assert plugin.n_threads == [2, 2], "of each tower; no second encoder beside it"
    parity = found["parity"]
    assert parity["cosine_min"] == pytest.approx(0.99995, abs=1e-5)
    assert (parity["n_images"], parity["n_texts"]) == (3, 3)
    assert parity in json.loads((tmp_path / "data" / PLAN_FILE).read_text()).values()
    with running_app(tmp_path, n_threads=2) as client:
        assert (serving(client)["precision"], serving(client)["parity"]) == ("bf16", parity)


@pytest.mark.usefixtures("bf16_is_fast")
def test_data_folder_that_records_a_precision_keeps_it(tmp_path: Path, plugin: FakeOpenVino) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, precision="int8"):
        pass
    with running_app(tmp_path) as client:
        assert (serving(client)["precision"], serving(client)["parity"]) == ("int8", None)
    assert plugin.n_threads == []


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_data_folder_that_records_fp32_or_int8_says_how_to_move_to_bf16(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, precision: str
) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, precision=precision) as client:
        assert serving(client)["reason"] == "set by DIPTYCH_PRECISION"
    caplog.set_level("INFO")
    with running_app(tmp_path) as client:
        assert ADVICE in serving(client)["reason"]
    assert "tiny/1: this processor multiplies in bf16" in caplog.text
    with running_app(tmp_path, read_only=True) as client:
        assert ADVICE not in serving(client)["reason"], "a read-only server cannot move"


@pytest.mark.parametrize("fault", [{"turned": 0.15}, {"turned": 0.07}])
def test_bf16_that_is_known_to_miss_a_bound_is_not_advised(
    tmp_path: Path, plugin: FakeOpenVino, fault: dict[str, float]
) -> None:
    plugin.turned = fault["turned"]
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path):
        pass
    with running_app(tmp_path) as client:
        assert serving(client)["reason"] == RECORDED


@pytest.mark.parametrize(
    ("ms", "precision", "is_advised"),
    [
        ({"fp32": 5.0, "bf16": 5.0, "int8": 4.0}, "fp32", False),
        ({"fp32": 5.0, "bf16": 2.0, "int8": 1.0}, "fp32", True),
        ({"fp32": 5.0, "bf16": 2.0, "int8": 1.0}, "int8", False),
        ({"fp32": 5.0, "bf16": 2.0, "int8": 1.5}, "int8", True),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_bf16_is_advised_if_auto_would_prefer_it_by_the_times_of_an_earlier_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ms: dict[str, float], precision: str, is_advised: bool
) -> None:
    monkeypatch.setattr(encoder_timing, "item_ms", lambda *_: ms)
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    served(tmp_path / "model_repo", plan_file=plan_file_of(Settings(data_dir=tmp_path / "data")))
    with running_app(tmp_path, version=1, n_threads=2, precision=precision):
        pass
    with running_app(tmp_path, version=1, n_threads=2) as client:
        assert (ADVICE in serving(client)["reason"]) == is_advised


def test_parity_is_measured_at_the_first_load_alone(tmp_path: Path, plugin: FakeOpenVino) -> None:
    plans = plan_file_of(Settings(data_dir=tmp_path / "data"))
    first = served(tmp_path / "repo", precision="bf16", plan_file=plans).loaded.parity
    assert plugin.ran.count(ONE_IMAGE) == 3
    version = ModelRepository(tmp_path / "repo").folder(TINY, 1)
    again = load_chosen(
        verify_bundle(version), precision="bf16", reason="", device="cpu", n_threads=2, plan_file=plans
    )
    assert (again.loaded.parity, plugin.ran.count(ONE_IMAGE)) == (first, 3)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"turned": 0.15}, r"golden image \d: cosine is 0\.98\d+, bound is 0\.99"),
        ({"turned": 0.07}, r"golden outputs: cosine_mean is 0\.997\d+, the bound is 0\.999"),
        ({"turned_alone": 0.07}, r"golden outputs: batch_cosine_min is 0\.997\d+, the bound is 0\.999"),
    ],
)
def test_version_that_misses_a_bound_is_not_served_in_bf16_and_the_reason_is_shown(
    tmp_path: Path,
    plugin: FakeOpenVino,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, float],
    reason: str,
) -> None:
    for name, angle in fault.items():
        setattr(plugin, name, angle)
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path) as client:
        (candidate,) = [one for one in serving(client)["candidates"] if one["precision"] == "bf16"]
        assert serving(client)["precision"] in TWO
    assert not candidate["passed"]
    assert re.match(reason, candidate["error"])
    with pytest.raises(GoldenMismatch, match=f"bf16: {reason}"):
        served(tmp_path / "repo", precision="bf16")
    assert f"tiny/1 is not served in bf16: {candidate['error']}" in caplog.messages


def test_compiler_that_fails_leaves_the_other_precisions(
    tmp_path: Path, plugin: FakeOpenVino, caplog: pytest.LogCaptureFixture
) -> None:
    plugin.fails_with = RuntimeError("no kernel for Conv")
    assert served(tmp_path).loaded.precision in TWO
    (warning,) = [one for one in caplog.messages if "is not served in bf16" in one]
    assert "image_encoder.onnx does not load" in warning
    assert "no kernel for Conv" in warning


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        (None, "OpenVINO's plugin does not support this processor"),
        ("FP32 INT8", "the processor has only FP32 INT8, says OpenVINO"),
    ],
)
def test_processor_without_bf16_is_served_as_before_and_the_named_precision_says_why(
    tmp_path: Path, plugin: FakeOpenVino, capabilities: str | None, reason: str
) -> None:
    plugin.capabilities = capabilities
    candidates = served(tmp_path / "repo").choice.candidates
    assert [one.precision for one in candidates if one.passed] == ["fp32", "int8"]
    assert candidates[1] == Candidate("bf16", passed=False, error=f"not offered here: {reason}")
    with pytest.raises(BundleError, match=f"^bf16: not offered here: {reason}"):
        served(tmp_path / "repo", precision="bf16")


def test_refused_start_and_models_name_the_precision_and_another_way(
    tmp_path: Path, plugin: FakeOpenVino
) -> None:
    plugin.turned = 0.15
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    refusal = r"bf16: golden image \d: cosine is 0\.98\d+, bound is 0\.99"
    another = "; another precision can be named with --precision$"
    newest = pytest.raises(ConfigError, match=f"^tiny/1 cannot be served here: {refusal}{another}")
    with newest, running_app(tmp_path, precision="bf16"):
        pass
    named = pytest.raises(GoldenMismatch, match=f"^{refusal}{another}")
    with named, running_app(tmp_path, precision="bf16", version=1):
        pass
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, version=1, precision="fp32") as client:
        client.post("/models/tiny/versions/2/activate", json={"precision": "bf16"})
        deadline = time.monotonic() + 30
        while not (ignored := client.get("/models").json()["models"][0]["ignored"]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert ignored[0]["version"] == 2
    assert re.match(refusal, ignored[0]["reason"])


def test_bf16_runs_on_the_cpu_alone_and_openvino_is_named_as_its_provider(
    tmp_path: Path, plugin: FakeOpenVino, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match=r"^DIPTYCH_DEVICE=cuda does not run bf16, "):
        served(tmp_path, precision="bf16", device="cuda")
    assert plugin.n_threads == []
    caplog.set_level("INFO")
    found = served(tmp_path, precision="bf16", device="auto")
    assert found.device == DeviceChoice(OPENVINO, None, "bf16 is for a CPU")
    assert f"encoders run on {OPENVINO}: bf16 is for a CPU" in caplog.messages


def test_plugin_that_falls_back_is_refused_without_a_word_of_cuda(
    tmp_path: Path, plugin: FakeOpenVino
) -> None:
    plugin.falls_back = True
    with pytest.raises(
        BundleError, match=f"{OPENVINO} was requested, but onnxruntime uses CPUExecution"
    ) as found:
        served(tmp_path, precision="bf16")
    assert "CUDA" not in str(found.value)


def test_data_folder_in_bf16_moves_to_a_machine_without_it_only_if_another_precision_is_named(
    tmp_path: Path, plugin: FakeOpenVino
) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, precision="bf16"):
        pass
    plugin.capabilities = None
    refusal = pytest.raises(
        ConfigError, match="tiny/1 in bf16, which the data folder records, cannot be served on this machine"
    )
    with refusal, running_app(tmp_path):
        pass
    with running_app(tmp_path, precision="fp32") as client:
        assert serving(client)["precision"] == "fp32"


def test_check_shows_the_parity_that_it_measured_or_why_bf16_is_out(
    tmp_path: Path, plugin: FakeOpenVino, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path, precisions=TWO)
    plugin.turned = 0.01
    assert main(["check", "--model-repo", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "sound   fp32, int8\n" in shown
    assert "  parity of bf16 here, on 3 golden images and 3 texts: cosine at least 0.99995, 0.99995" in shown
    plugin.turned = 0.2
    assert main(["check", "--model-repo", str(tmp_path)]) == 0, "the files are sound"
    assert re.search(r"    bf16  golden image \d: cosine is 0\.98", capsys.readouterr().out)
