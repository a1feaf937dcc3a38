"""The precision that a server serves in, over HTTP with real graphs: chosen, recorded, changed."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from diptych.bundle.golden import check_golden
from diptych.bundle.repository import ModelRepository
from diptych.cli import main
from diptych.core.tuning.precision import EncoderTiming
from diptych.errors import BundleError, ConfigError, GoldenMismatch
from diptych.wiring.loading import bundles
from diptych.wiring.loading.bundles import verify_bundle
from diptych.wiring.precisions import chosen
from diptych.wiring.precisions.chosen import ChosenPrecision, load_chosen
from support.app import running_app
from support.pictures import picture
from support.tiny_bundle import TINY, Fault, write_tiny_bundle

WITHIN_S = 60
TWO: dict[str, Fault] = {"fp32": "equal", "int8": "rounded"}
COLOURS = ("red", "blue")
NO_PLUGIN = "not offered here: the package onnxruntime-ep-openvino is not installed"


def served(folder: Path, precisions: dict[str, Fault], **given: Any) -> ChosenPrecision:
    version = write_tiny_bundle(folder, precisions=precisions)
    options = {"precision": "auto", "reason": "named", "device": "cpu", "n_threads": 1}
    return load_chosen(verify_bundle(ModelRepository(folder).folder(TINY, version)), **(options | given))


def errors_of(found: ChosenPrecision) -> dict[str, str | None]:
    return {one.precision: one.error for one in found.choice.candidates}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]


def serving(client: TestClient) -> dict[str, Any]:
    """How the active version is served, as `/models` says."""
    (model,) = client.get("/models").json()["models"]
    return dict(model["serving"])


def precision_of_requests(client: TestClient) -> str:
    return str(client.post("/embed", json={"input": [{"text": "red"}]}).json()["model"]["precision"])


def add(client: TestClient) -> None:
    files = [("image", (f"{colour}.png", picture(colour))) for colour in COLOURS]
    assert client.post("/collections/default/images", files=files).status_code == 200


def found(client: TestClient) -> tuple[str, int]:
    """The precision that answers a search, and how many images it finds."""
    answer = client.get("/search", params={"q": "red"})
    assert answer.status_code == 200, answer.text
    return answer.json()["model"]["precision"], len(answer.json()["hits"])


def wait_for(client: TestClient, rollout: str) -> dict[str, Any]:
    """The rollout once it has ended. Searches find all images all the time."""
    deadline = time.monotonic() + WITHIN_S
    while (ended := client.get(f"/rollouts/{rollout}").json())["finished_at"] is None:
        assert found(client)[1] == len(COLOURS)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return dict(ended)


def measured(monkeypatch: pytest.MonkeyPatch, **ms: float) -> None:
    """Let each precision take so long for an item, whatever else this machine does."""
    timings = {name: EncoderTiming(one, one) for name, one in ms.items()}
    monkeypatch.setattr(chosen, "encoder_timings", lambda *_, **__: timings)


def newest_rollout(client: TestClient) -> str:
    (rollout,) = client.get("/rollouts", params={"limit": 1}).json()["rollouts"]
    return str(rollout["id"])


@pytest.mark.parametrize(
    ("precisions", "precision", "reason"),
    [
        ({"fp32": "slow", "int8": "equal"}, "int8", "the fastest; no exacter one reaches two thirds"),
        ({"fp32": "equal", "int8": "slow"}, "fp32", "the most exact, and the fastest"),
    ],
)
def test_exacter_precision_is_chosen_unless_it_is_much_slower(
    tmp_path: Path, precisions: dict[str, Fault], precision: str, reason: str
) -> None:
    result = served(tmp_path, precisions)
    assert result.loaded.precision == result.choice.precision == precision
    assert result.choice.reason.startswith(reason)


@pytest.mark.parametrize(("sound", "broken"), [("fp32", "int8"), ("int8", "fp32")])
def test_precision_that_fails_its_golden_check_is_left_out_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sound: str, broken: str
) -> None:
    result = served(tmp_path, {sound: "equal", broken: "broken"})
    assert result.loaded.precision == sound
    assert result.choice.reason == "the only one that passed here"
    assert "golden image 1: cosine is" in str(errors_of(result)[broken])
    assert errors_of(result)[sound] is None
    assert warnings_of(caplog) == [f"tiny/1 is not served in {broken}: {errors_of(result)[broken]}"]


def test_precision_for_another_device_is_not_chosen_but_may_be_named(tmp_path: Path) -> None:
    result = served(tmp_path, {"fp32": "slow", "fp16": "equal"})
    assert result.loaded.precision == "fp32"
    assert errors_of(result)["fp16"] == "fp16 is for a GPU"
    named = served(tmp_path, {"fp32": "slow", "fp16": "equal"}, precision="fp16", device="auto")
    assert named.loaded.precision == "fp16"
    with pytest.raises(
        BundleError, match="no precision can be served on this machine: fp16: fp16 is for a GPU"
    ):
        served(tmp_path, {"fp16": "equal"}, device="auto")


def test_start_fails_only_if_nothing_passes_or_the_named_precision_fails(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"fp32: golden image \d: .*; int8: golden image \d: "):
        served(tmp_path, {"fp32": "broken", "int8": "broken"})
    with pytest.raises(GoldenMismatch, match=r"golden image \d: cosine is"):
        served(tmp_path, {"fp32": "equal", "int8": "broken"}, precision="int8")


def test_named_precision_is_loaded_without_trying_others(tmp_path: Path) -> None:
    result = served(tmp_path, {"fp32": "broken", "int8": "slow"}, precision="int8")
    assert (result.loaded.precision, result.choice.candidates) == ("int8", ())


def test_one_precision_makes_every_answer_and_each_names_it(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    image = [("image", ("red.png", picture("red")))]
    with running_app(tmp_path, precision="int8") as client:
        answers = [
            client.post("/embed", json={"input": [{"text": "red"}]}),
            client.post("/classify", files=[*image, ("labels", (None, '["red", "blue"]'))]),
            client.post("/collections/default/images", files=image),
            client.get("/search", params={"q": "red"}),
            client.post("/search", files=image),
        ]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["model"]["precision"] for answer in answers} == {"int8"}
        assert client.get("/collections/default").json()["vectors"]["precision"] == "int8"
        metrics = client.get("/metrics").text
    for encoder, n_items in {"image": 3, "text": 4}.items():
        assert f'diptych_batch_size_sum{{encoder="{encoder}"}} {n_items}.0' in metrics
    assert set(re.findall(r'encoder="(\w+)"', metrics)) == {"image", "text"}
    assert set(re.findall(r'precision="(\w+)"', metrics)) == {"int8"}


def test_models_shows_the_candidates_the_choice_and_the_reason(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    write_tiny_bundle(tmp_path / "model_repo", precisions={"fp32": "slow", "fp16": "equal", "int8": "equal"})
    with running_app(tmp_path) as client:
        result = serving(client)
        active = client.get(f"/models/{TINY}/versions/2").json()
        other = client.get(f"/models/{TINY}/versions/1").json()
    assert (active["serving"], other["serving"]) == (result, None)
    assert active["prompt_sets"] == ["default", "plain", "label", "pictograms", "photos"]
    device = result["device"]
    assert (device["provider"], device["name"]) == ("CPUExecutionProvider", None)
    assert device["reason"].startswith("no GPU: onnxruntime ")
    assert result["plan"] == {
        "n_lanes": 1, "image_batch_size": 16, "text_batch_size": 16, "n_decode_threads": 1
    }  # fmt: skip
    assert (result["precision"], result["running"]["precision"]) == ("int8", "int8")
    tried = {one["precision"]: one for one in result["candidates"]}
    assert [name for name, one in tried.items() if one["passed"]] == ["fp32", "int8"]
    assert tried["fp16"]["error"] == "fp16 is for a GPU"
    assert tried["bf16"]["error"] == NO_PLUGIN
    assert tried["fp16"]["image_ms"] is None
    assert tried["int8"]["image_ms"] < tried["fp32"]["image_ms"]
    assert tried["int8"]["text_ms"] < tried["fp32"]["text_ms"]


def test_new_data_folder_records_what_auto_chose_and_a_start_with_other_times_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)

    measured(monkeypatch, fp32=5, int8=1)
    with running_app(tmp_path) as client:
        assert [one["precision"] for one in serving(client)["candidates"] if one["passed"]] == list(TWO)
        add(client)
        assert found(client) == ("int8", 2)
    measured(monkeypatch, fp32=1, int8=5)
    with running_app(tmp_path) as client:
        result = serving(client)
        assert (result["precision"], result["reason"]) == (
            "int8",
            "named by the data folder or by an activation",
        )
        assert (result["candidates"], found(client)) == ([], ("int8", 2))
        assert client.get("/models").json()["rollout"] is None


def test_named_precision_is_rolled_out_and_recorded_and_a_rollback_returns_to_the_former_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "diptych.core.rollout.worker")
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, precision="fp32") as client:
        add(client)
    with running_app(tmp_path, precision="int8") as client:
        moved = wait_for(client, newest_rollout(client))
        assert (moved["state"], moved["target"]["precision"]) == ("active", "int8")
        assert "tiny/1 in fp32 serves" in re.sub(r" \(\w{8}\)", "", caplog.text)
        assert (precision_of_requests(client), found(client)) == ("int8", ("int8", 2))
    with running_app(tmp_path) as client:
        assert (serving(client)["precision"], found(client)) == ("int8", ("int8", 2))
        assert newest_rollout(client) == moved["id"]
        previous = client.get("/models").json()["previous"]
        assert (previous["version"], previous["precision"]) == (1, "fp32")
        body = {"precision": previous["precision"]}
        back = client.post(f"/models/{TINY}/versions/1/activate", json=body)
        assert (back.status_code, wait_for(client, back.json()["id"])["state"]) == (202, "active")
        assert (precision_of_requests(client), found(client)) == ("fp32", ("fp32", 2))
    with running_app(tmp_path) as client:
        assert (precision_of_requests(client), found(client)) == ("fp32", ("fp32", 2))


def test_named_decode_mode_is_rolled_out_and_a_collection_that_cannot_move_is_searched_as_before(
    tmp_path: Path,
) -> None:
    with running_app(tmp_path) as client:
        add(client)
        client.post("/collections", json={"name": "bare", "keep": "none"})
        client.post("/collections/bare/images", files=[("image", ("red.png", picture("red")))])
    with running_app(tmp_path, decode="fast") as client:
        moved = wait_for(client, newest_rollout(client))
        assert (moved["state"], moved["comparison"] is None) == ("active", False)
        assert client.get("/models").json()["previous"] is None  # a rollback would not change the setting
        answers = {
            name: client.get("/search", params={"q": "red", "collection": name}).json()
            for name in ("default", "bare")
        }
        assert {name: answer["model"]["decode"] for name, answer in answers.items()} == {
            "default": "fast",
            "bare": "exact",
        }
        assert {name: len(answer["hits"]) for name, answer in answers.items()} == {"default": 2, "bare": 1}
        bare = client.get("/collections/bare").json()
        assert (bare["state"], moved["stays"]) == ("ready", {"bare": bare["stays"]})
        assert bare["stays"] == "1 of 1 rows keep no image that could be embedded"


def test_machine_that_cannot_run_the_recorded_precision_serves_another_only_if_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, precision="int8") as client:
        add(client)

    def check_on_another_machine(golden: Any, manifest: Any, precision: str, *others: Any) -> None:
        if precision == "int8":
            raise GoldenMismatch("golden image 1: cosine is half")
        check_golden(golden, manifest, precision, *others)

    monkeypatch.setattr(bundles, "check_golden", check_on_another_machine)
    named = "another precision can be named with --precision$"
    read_only = "a read-only server moves to no other precision: .* a server with --precision that may write"
    for given, advice in (
        ({}, named),
        ({"precision": "int8"}, named),
        ({"precision": "fp32", "read_only": True}, read_only),
    ):
        refusal = pytest.raises(
            ConfigError,
            match="tiny/1 in int8, which the data folder records, cannot be served on this machine: "
            f"golden image 1: cosine is half; {advice}",
        )
        with refusal, running_app(tmp_path, **given):
            pass
    refusal = pytest.raises(ConfigError, match="tiny/1 has no precision 'fp16', only fp32, bf16, int8")
    with refusal, running_app(tmp_path, precision="fp16"):
        pass
    with running_app(tmp_path, precision="fp32") as client:
        assert precision_of_requests(client) == "fp32"
        deadline = time.monotonic() + WITHIN_S
        while client.get("/collections/default").json()["state"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert found(client) == ("fp32", 2)
    monkeypatch.undo()
    with running_app(tmp_path) as client:
        assert (precision_of_requests(client), found(client)) == ("fp32", ("fp32", 2))


def test_check_proves_every_precision_and_says_which_would_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_DEVICE", "cpu")
    measured(monkeypatch, fp32=5, int8=1)
    write_tiny_bundle(tmp_path, precisions={"fp32": "equal", "fp16": "equal", "int8": "equal"})
    write_tiny_bundle(tmp_path, precisions={"fp32": "equal", "int8": "broken"})
    assert main(["check", "--model-repo", str(tmp_path), "tiny/1"]) == 0
    head, device, choice, *candidates = capsys.readouterr().out.splitlines()
    assert device == "  on CPUExecutionProvider: set by DIPTYCH_DEVICE"
    assert head == "tiny/1  sound   fp32, fp16, int8"
    assert choice.startswith("  auto is int8: the fastest; ")
    assert [line.split()[0] for line in candidates] == ["fp32", "fp16", "bf16", "int8"]
    assert candidates[1:3] == ["    fp16  fp16 is for a GPU", f"    bf16  {NO_PLUGIN}"]
    write_tiny_bundle(tmp_path, "elsewhere", precisions={"fp16": "equal"})
    assert main(["check", "--model-repo", str(tmp_path), "elsewhere"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "elsewhere/1  sound   fp16",
        "  on CPUExecutionProvider: set by DIPTYCH_DEVICE",
        "  no precision can be served on this machine: fp16: fp16 is for a GPU",
    ]
    assert main(["check", "--model-repo", str(tmp_path), "tiny/2"]) == 1
    assert capsys.readouterr().out.startswith("tiny/2  FAILED  int8: golden image 1: cosine is")
