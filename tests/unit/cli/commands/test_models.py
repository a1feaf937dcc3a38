"""`diptych models`: what it prints about the served version."""

import pytest

from diptych.cli.commands import models
from support.command_line import Capture, command_runner
from support.fake_api import FakeApi, ok

SERVING = {
    "embed": {
        "precision": "int8",
        "reason": "2.00 times as fast as fp32",
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
    },
    "collections": {"precision": "fp32", "reason": "exact"},
    "device": {"provider": "CPUExecutionProvider", "name": None, "reason": "set by DIPTYCH_DEVICE"},
    "running": [
        {"precision": "int8", "provider": "CPUExecutionProvider", "cuda_graphs": None, "tensorrt": None},
        {
            "precision": "fp16",
            "provider": "CUDAExecutionProvider",
            "cuda_graphs": {
                "image": {"captured": True, "reason": "each shape of a batch is captured once"},
                "text": {"captured": False, "reason": "a replay is off"},
            },
            "tensorrt": {"state": "unavailable", "reason": "libnvinfer.so.10 is missing"},
        },
    ],
}


def test_models_shows_the_served_version(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    rows = [
        {"name": "pictograms", "versions": [1, 2], "active": 2, "source": None, "serving": SERVING},
        {"name": "mine", "versions": [1], "active": None, "source": None},
    ]
    rows[1]["ignored"] = [{"version": 1, "reason": "it is for another GPU"}]
    command_runner(models, FakeApi().on("GET /models", ok({"models": rows})), monkeypatch)()
    assert capsys.readouterr().out.splitlines() == [
        "name        versions  active",
        "pictograms  1, 2      2",
        "mine        1",
        "mine/1 is ignored: it is for another GPU",
        "",
        "pictograms serves",
        "  on CPUExecutionProvider: set by DIPTYCH_DEVICE",
        "  requests in int8: 2.00 times as fast as fp32",
        "    fp32  8.25 ms an image, 1.5 ms a text",
        "    fp16  fp16 is for a GPU",
        "    int8  4.12 ms an image, 0.75 ms a text",
        "  collections in fp32: exact",
        "  fp16 runs images as CUDA graphs: each shape of a batch is captured once",
        "  fp16 runs texts without CUDA graphs: a replay is off",
        "  fp16 in TensorRT, unavailable: libnvinfer.so.10 is missing",
    ]
