"""`diptych models`: what it prints about the served version and the rollout under way."""

import pytest

from diptych.cli.commands import models
from support.command_line import Capture, command_runner
from support.fake_api import FakeApi, ok

SERVING = {
    "precision": "int8",
    "reason": "the fastest; no exacter one reaches two thirds of its speed",
    "candidates": [
        {"precision": "fp32", "image_ms": 8.25, "text_ms": 1.5, "passed": True, "error": None},
        {
            "precision": "fp16",
            "image_ms": None,
            "text_ms": None,
            "passed": False,
            "error": "fp16 is for a GPU",
        },
        {"precision": "int8", "image_ms": 4.1234, "text_ms": 0.75, "passed": True, "error": None},
    ],
    "plan": {"n_lanes": 2, "image_batch_size": 8, "text_batch_size": 16, "n_decode_threads": 4},
    "device": {"provider": "CUDAExecutionProvider", "name": None, "reason": "set by DIPTYCH_DEVICE"},
    "running": {
        "precision": "int8",
        "provider": "CUDAExecutionProvider",
        "tensorrt": {"state": "unavailable", "reason": "libnvinfer.so.10 is missing"},
    },
}


def test_models_shows_the_served_version(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    rows = [
        {
            "name": "pictograms",
            "versions": [1, 2],
            "loaded": [2],
            "active": 2,
            "source": None,
            "serving": SERVING,
            "calibration": {
                "n_background": 1_200,
                "text": {"error": 0.0449, "n_queries": 964},
                "image": {"error": 0.5, "n_queries": 60, "ignored": "its calibration error is 0.50"},
            },
        },
        {"name": "mine", "versions": [1], "active": None, "source": None},
    ]
    rows[1]["ignored"] = [{"version": 1, "reason": "it is for another GPU"}]
    rows[1]["broken"] = [{"folder": "1 (copy)", "reason": "its name is not the number of a version"}]
    status = {"models": rows, "broken": [{"folder": "mine.tar", "reason": "it is a file"}]}
    command_runner(models, FakeApi().on("GET /models", ok(status)), monkeypatch)()
    assert capsys.readouterr().out.splitlines() == [
        "name        versions  loaded  active",
        "pictograms  1, 2      2       2",
        "mine        1",
        "mine/1 is ignored: it is for another GPU",
        "mine/1 (copy) is no version: its name is not the number of a version",
        "mine.tar in the model repository is no model: it is a file",
        "",
        "pictograms/2 serves",
        "  on CUDAExecutionProvider: set by DIPTYCH_DEVICE",
        "  in int8: the fastest; no exacter one reaches two thirds of its speed",
        "    fp32  8.25 ms an image, 1.5 ms a text",
        "    fp16  fp16 is for a GPU",
        "    int8  4.12 ms an image, 0.75 ms a text",
        "    lanes: 2, batches of at most: 8 images or 16 texts, threads that decode: 4",
        "  int8 in TensorRT, unavailable: libnvinfer.so.10 is missing",
        "  relevance of searches: by words 964 queries, error 0.045; by an image 60 queries, error 0.500, "
        "ignored: its calibration error is 0.50; background of 1,200 images",
    ]


def test_models_says_how_hits_get_a_relevance(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    row = {"name": "mine", "versions": [5], "active": 5, "source": None, "serving": SERVING}
    command_runner(
        models, FakeApi().on("GET /models", ok({"models": [row | {"calibration": None}]})), monkeypatch
    )()
    assert capsys.readouterr().out.splitlines()[-1] == (
        "  search hits have no relevance: `diptych-train calibrate mine/5` gives them one; if the version "
        "has left the model repository, put it back first, or only mine/5.calibration.npz"
    )


PREVIOUS = {"name": "tiny", "version": 1, "n_lagging": 0, "memory_bytes": 20_000, "vector_bytes": 10_000}
PREVIOUS |= {"weight_bytes": 600_000_000, "bundle_bytes": 0, "precision": "fp32"}
STATUS = {
    "models": [{"name": "tiny", "versions": [1, 2], "loaded": [1, 2], "active": 2}],
    "policy": "latest",
    "previous": PREVIOUS,
    "rollout": None,
}


def test_models_shows_policy_and_what_a_rollback_returns_to(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    lagging = STATUS | {"policy": "manual", "previous": PREVIOUS | {"n_lagging": 3}}
    api = FakeApi().on("GET /models", ok(STATUS), ok(STATUS), ok(lagging))
    run = command_runner(models, api, monkeypatch)
    cost = "memory: 20 kB for vectors and 600 MB for weights; disk: 10 kB for vectors and 0 B for files"
    assert run() == run() == 0
    assert capsys.readouterr().out.splitlines() == [
        "name  versions  loaded  active",
        "tiny  1, 2      1, 2    2",
        "policy latest: the server moves to new versions of the active model by itself",
        f"tiny/1 in fp32 served before: a rollback is immediate; {cost}",
        "name  versions  loaded  active",
        "tiny  1, 2      1, 2    2",
        "policy manual: the server moves when a version is activated",
        f"tiny/1 in fp32 served before: it lacks vectors of 3 images; {cost}",
    ]
