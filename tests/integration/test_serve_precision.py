"""The precision of each kind of request, over HTTP with real graphs. Times are only compared."""

import asyncio
import json
import re
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient

from diptych.bundle.repository import ModelRepository
from diptych.cli import main
from diptych.core.tuning.precision import Candidate
from diptych.errors import BundleError, GoldenMismatch
from diptych.settings import Settings
from diptych.wiring.loading import encoders
from diptych.wiring.loading.bundles import verify_bundle
from diptych.wiring.precisions.chosen import ChosenPrecisions, load_chosen
from diptych.wiring.services import load
from diptych.wiring.tuning import encoder_timing
from support.app import FIXED_PLAN, running_app
from support.pictures import picture
from support.tiny_bundle import TINY, Fault, write_changed_bundle, write_tiny_bundle

WITHIN_S = 60


def served(folder: Path, precisions: dict[str, Fault], **given: Any) -> ChosenPrecisions:
    version = write_tiny_bundle(folder, precisions=precisions)
    options = {
        "precision": "auto",
        "collection_precision": "auto",
        "device": "cpu",
        "n_threads": 1,
    }
    return load_chosen(verify_bundle(ModelRepository(folder).folder(TINY, version)), **(options | given))


def precisions_of(found: ChosenPrecisions) -> tuple[str, str]:
    assert (found.embed.precision, found.collections.precision) == (
        found.serving.embed.precision,
        found.serving.collections.precision,
    )
    return found.embed.precision, found.collections.precision


def errors_of(found: ChosenPrecisions) -> dict[str, str | None]:
    return {one.precision: one.error for one in found.serving.embed.candidates}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]


def test_faster_precision_answers_requests_and_the_exact_one_keeps_collections(tmp_path: Path) -> None:
    found = served(tmp_path, {"fp32": "slow", "int8": "equal"})
    assert precisions_of(found) == ("int8", "fp32")
    assert found.embed.info("exact").identity != found.collections.info("exact").identity
    exact, fast = found.serving.embed.candidates
    assert exact.pair_ms > fast.pair_ms > 0
    assert found.serving.embed.reason.endswith("as fast as fp32 on an image and a text")


def test_precision_that_is_not_faster_is_not_chosen(tmp_path: Path) -> None:
    found = served(tmp_path, {"int8": "slow", "fp32": "equal"})
    assert precisions_of(found) == ("fp32", "fp32")
    assert found.collections is found.embed


def test_precision_that_fails_its_golden_check_is_left_out_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = served(tmp_path, {"fp32": "equal", "int8": "broken"})
    assert warnings_of(caplog) == [f"tiny/1 is not served in int8: {errors_of(found)['int8']}"]
    assert precisions_of(found) == ("fp32", "fp32")
    assert errors_of(found)["fp32"] is None
    assert "golden image 1: cosine is" in str(errors_of(found)["int8"])
    assert found.serving.embed.reason == "the only one that passed here"


def test_precision_with_a_nan_among_its_weights_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(folder: Path) -> None:
        graph = onnx.load(folder / "image_encoder.int8.onnx")
        for weights in graph.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT:
                nans = np.full_like(onnx.numpy_helper.to_array(weights), np.nan)
                weights.CopyFrom(onnx.numpy_helper.from_array(nans, weights.name))
        onnx.save(graph, folder / "image_encoder.int8.onnx")

    both: dict[str, Fault] = {"fp32": "equal", "int8": "equal"}
    write_changed_bundle(tmp_path / "model_repo", tmp_path / "scratch", spoil, both)
    with running_app(tmp_path) as client:
        (model,) = client.get("/models").json()["models"]
    assert model["serving"]["embed"]["precision"] == "fp32"
    (warning,) = warnings_of(caplog)
    assert re.fullmatch(r"tiny/1 is not served in int8: .* not finite or not of unit norm", warning)


def test_requests_and_collections_are_served_without_a_broken_exact_precision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = served(tmp_path, {"fp32": "broken", "int8": "equal"})
    assert precisions_of(found) == ("int8", "int8")
    (warning,) = warnings_of(caplog)
    assert warning.startswith("tiny/1 is not served in fp32: golden image")
    assert "no fp32 of this version passes here" in found.serving.collections.reason


def test_precision_for_another_device_is_not_chosen(tmp_path: Path) -> None:
    found = served(tmp_path, {"fp32": "slow", "fp16": "equal"})
    assert precisions_of(found) == ("fp32", "fp32")
    assert errors_of(found)["fp16"] == "fp16 is for a GPU"
    found = served(tmp_path, {"fp32": "slow", "fp16": "equal"}, precision="fp16", device="auto")
    assert precisions_of(found) == ("fp16", "fp32")
    with pytest.raises(
        BundleError, match="no precision can be served on this machine: fp16: fp16 is for a GPU"
    ):
        served(tmp_path, {"fp16": "equal"}, device="auto")


def test_start_fails_only_if_nothing_passes_or_the_named_precision_fails(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"fp32: golden image \d: .*; int8: golden image \d: "):
        served(tmp_path, {"fp32": "broken", "int8": "broken"})
    for name in ("precision", "collection_precision"):
        with pytest.raises(GoldenMismatch, match=r"golden image \d: cosine is"):
            served(tmp_path, {"fp32": "equal", "int8": "broken"}, **{name: "int8"})


def test_named_precisions_are_loaded_without_trying_others(tmp_path: Path) -> None:
    found = served(tmp_path, {"fp32": "equal", "int8": "slow"}, precision="int8", collection_precision="int8")
    assert found.collections is found.embed
    assert found.serving.embed.candidates == (Candidate("int8", passed=True),)
    assert found.serving.embed.reason == "set by DIPTYCH_PRECISION"
    assert found.serving.collections.reason == "set by DIPTYCH_COLLECTION_PRECISION"


@pytest.mark.parametrize("fault", ["slow", "broken"])
def test_precision_that_is_not_chosen_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    made: list[weakref.ref[Any]] = []
    open_encoder = encoders.OnnxEncoder

    def remembered(*values: Any, **options: Any) -> Any:
        encoder = open_encoder(*values, **options)
        made.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(encoders, "OnnxEncoder", remembered)
    found = served(tmp_path, {"fp32": "equal", "int8": fault})
    assert len(made) == 2
    assert [one() for one in made if one() is not None] == [found.embed.encoder]


def test_parts_are_shared_when_one_precision_does_both(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo")
    settings = Settings(model_repo=tmp_path / "repo", model=TINY, data_dir=tmp_path / "data", **FIXED_PLAN)

    async def run() -> None:
        services = await load(settings)
        pipelines = services.active.now.version.pipelines
        assert pipelines.for_collections is pipelines.for_requests
        await services.close()

    asyncio.run(run())


def ask(client: TestClient) -> dict[str, str]:
    """Return the precision that each call names."""
    image = [("image", ("red.png", picture("red")))]
    labels = [("labels", (None, '["red", "blue"]'))]
    answers = {
        "embed": client.post("/embed", json={"input": [{"text": "red"}]}),
        "classify": client.post("/classify", files=[*image, *labels]),
        "add": client.post("/collections/default/images", files=image),
        "search by words": client.get("/search", params={"q": "red"}),
        "search by image": client.post("/search", files=image),
    }
    assert {answer.status_code for answer in answers.values()} == {200}
    return {call: answer.json()["model"]["precision"] for call, answer in answers.items()}


def test_every_answer_names_the_precision_that_made_it(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions={"fp32": "slow", "int8": "equal"})
    with running_app(tmp_path) as client:
        assert ask(client) == {
            "embed": "int8",
            "classify": "int8",
            "add": "fp32",
            "search by words": "fp32",
            "search by image": "fp32",
        }
        metrics = client.get("/metrics").text
        for encoder, n_items in {"image": 1, "text": 3, "collection_image": 2, "collection_text": 1}.items():
            assert f'diptych_batch_size_sum{{encoder="{encoder}"}} {n_items}.0' in metrics
            assert f'diptych_queue_items{{encoder="{encoder}"}} 0.0' in metrics
        for precision in ("fp32", "int8"):
            assert f'precision="{precision}",provider="CPUExecutionProvider"' in metrics


def test_models_shows_the_candidates_the_choice_and_the_reason(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    write_tiny_bundle(tmp_path / "model_repo", precisions={"fp32": "slow", "fp16": "equal", "int8": "equal"})
    with running_app(tmp_path) as client:
        (model,) = client.get("/models").json()["models"]
        active = client.get(f"/models/{TINY}/versions/2").json()
        other = client.get(f"/models/{TINY}/versions/1").json()
    serving = model["serving"]
    assert serving == active["serving"]
    assert other["serving"] is None
    assert active["prompt_sets"] == ["default", "plain", "label", "pictograms", "photos"]
    device = serving["device"]
    assert (device["provider"], device["name"]) == ("CPUExecutionProvider", None)
    assert device["reason"].startswith("no GPU: onnxruntime ")
    assert serving["collections"] == {
        "precision": "fp32",
        "reason": "vectors that are kept are fp32 on a CPU",
        "plan": {"n_lanes": 1, "image_batch_size": 16, "text_batch_size": 16, "n_decode_threads": 2},
    }
    assert serving["embed"]["precision"] == "int8"
    assert serving["embed"]["plan"]["image_batch_size"] == 16
    tried = {one["precision"]: one for one in serving["embed"]["candidates"]}
    assert [one["passed"] for one in tried.values()] == [True, False, True]
    assert tried["fp16"]["error"] == "fp16 is for a GPU"
    assert tried["fp16"]["image_ms"] is None
    assert tried["int8"]["image_ms"] < tried["fp32"]["image_ms"]
    assert tried["int8"]["text_ms"] < tried["fp32"]["text_ms"]


def test_second_start_reuses_the_times_of_the_first_and_chooses_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions={"fp32": "slow", "int8": "equal"})

    def chosen() -> Any:
        with running_app(tmp_path) as client:
            return client.get("/models").json()["models"][0]["serving"]["embed"]

    first = chosen()

    def measured(*_: Any, **__: Any) -> None:
        raise AssertionError("this would measure")

    monkeypatch.setattr(encoder_timing, "item_ms", measured)
    assert chosen() == first
    assert first["candidates"][1]["image_ms"] > 0


def test_data_folder_follows_the_precision_of_collections_and_never_mixes(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions={"fp32": "equal", "int8": "equal"})
    images = [("image", (f"{colour}.png", picture(colour))) for colour in ("red", "blue")]

    def found(client: TestClient) -> tuple[str, int]:
        answer = client.get("/search", params={"q": "red"}).json()
        return answer["model"]["precision"], len(answer["hits"])

    def moves_to(precision: str, client: TestClient) -> bool:
        """Whether searches move to the precision, and find all images all the time."""
        deadline = time.monotonic() + WITHIN_S
        while (answer := found(client)) != (precision, 2):
            assert answer[1] == 2
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return True

    with running_app(tmp_path) as client:
        client.post("/collections/default/images", files=images)
        assert found(client) == ("fp32", 2)
    with running_app(tmp_path, precision="int8") as client:  # of requests: collections do not care
        assert client.get("/collections/default").json()["state"] == "ready"
        assert found(client) == ("fp32", 2)
    with running_app(tmp_path, collection_precision="int8") as client:  # embedded again from the kept files
        assert moves_to("int8", client)
    with running_app(tmp_path) as client:
        assert moves_to("fp32", client)


def test_check_proves_every_precision_and_says_which_would_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_DEVICE", "cpu")
    write_tiny_bundle(tmp_path, precisions={"fp32": "slow", "fp16": "equal", "int8": "equal"})
    write_tiny_bundle(tmp_path, precisions={"fp32": "equal", "int8": "broken"})
    assert main(["check", "--model-repo", str(tmp_path), "tiny/1"]) == 0
    head, device, choice, *candidates = capsys.readouterr().out.splitlines()
    assert device == "  on CPUExecutionProvider: set by DIPTYCH_DEVICE"
    assert head == "tiny/1  sound   fp32, fp16, int8"
    assert choice.startswith("  auto is int8: int8 is ")
    assert [line.split()[0] for line in candidates] == ["fp32", "fp16", "int8"]
    assert candidates[1] == "    fp16  fp16 is for a GPU"
    write_tiny_bundle(tmp_path, "elsewhere", precisions={"fp16": "equal"})
    assert main(["check", "--model-repo", str(tmp_path), "elsewhere"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "elsewhere/1  sound   fp16",
        "  on CPUExecutionProvider: set by DIPTYCH_DEVICE",
        "  no precision can be served on this machine: fp16: fp16 is for a GPU",
    ]
    assert main(["check", "--model-repo", str(tmp_path), "tiny/2"]) == 1
    assert capsys.readouterr().out.startswith("tiny/2  FAILED  int8: golden image 1: cosine is")


def test_named_template_sets_work_in_json_and_form_and_an_unknown_one_is_a_422(tmp_path: Path) -> None:
    with running_app(tmp_path) as client:
        image = ("image", ("red.png", picture("red")))
        for name in ("photos", "pictograms", "label", "plain"):
            parts = [image, ("labels", (None, '["red", "blue"]')), ("templates", (None, name))]
            (row,) = client.post("/classify", files=parts).json()["data"]
            assert row["predictions"][0]["label"] == "red"
        unknown = client.post(
            "/classify", files=[image, ("labels", (None, '["red"]')), ("templates", (None, "absent"))]
        )
        assert (unknown.status_code, unknown.json()["item"]) == (422, "templates")
        assert "only default, plain, label, pictograms, photos" in unknown.json()["detail"]


@pytest.mark.long
def test_thousand_labels_in_the_eighty_templates_are_within_the_limits(tmp_path: Path) -> None:
    labels = ["red", *(f"thing {n}" for n in range(999))]
    with running_app(tmp_path, max_batch_size=256) as client:
        parts = [
            ("image", ("red.png", picture("red"))),
            ("labels", (None, json.dumps(labels))),
            ("templates", (None, "photos")),
            ("top_k", (None, "1")),
        ]
        answer = client.post("/classify", files=parts)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["predictions"][0]["label"] == "red"


def test_named_set_is_the_mean_over_its_templates(tmp_path: Path) -> None:
    with running_app(tmp_path) as client:

        def cosine(**options: Any) -> float:
            image = [("image", ("red.png", picture("red"))), ("labels", (None, '["red"]'))]
            fields = [(name, (None, value)) for name, value in options.items()]
            (row,) = client.post("/classify", files=[*image, *fields]).json()["data"]
            return float(row["predictions"][0]["cosine"])

        spelt = json.dumps(["{}", "an icon of {}", "an emoji of {}"])
        assert np.isclose(cosine(templates="pictograms"), cosine(templates=spelt), atol=1e-6)
        assert np.isclose(cosine(templates="label"), cosine(template="{}"), atol=1e-6)
