"""What `diptych models suggest` says of a checkpoint's size and cost follows from its architecture."""

import json
from typing import Any

import open_clip
import pytest
import torch
from open_clip.pretrained import list_pretrained
from torch.utils.flop_counter import FlopCounterMode

from diptych.cli import main

OPENAI = {"openai/clip-vit-base-patch32": "ViT-B-32"}  # the same in transformers' form


def architectures() -> dict[str, str]:
    """Hub id -> open_clip's architecture."""
    listed = {
        open_clip.get_pretrained_cfg(name, tag).get("hf_hub", "").rstrip("/"): name
        for name, tag in list_pretrained()
    }
    return listed | OPENAI


def figures(architecture: str) -> dict[str, float]:
    """Built on the meta device: no weights, no memory."""
    config: dict[str, Any] = open_clip.get_model_config(architecture)
    is_custom = config.pop("custom_text", False)
    size = config["vision_cfg"]["image_size"]
    with torch.device("meta"):
        model = (open_clip.CustomTextCLIP if is_custom else open_clip.CLIP)(**config).eval()
        with FlopCounterMode(display=False) as counted:
            model.encode_image(torch.zeros(1, 3, size, size))
    return {
        "parameters_m": round(sum(tensor.numel() for tensor in model.parameters()) / 1e6),
        "image_gflops": round(counted.get_total_flops() / 1e9, 1),
        "image_size": size,
        "embed_dim": config["embed_dim"],
    }


def test_figures_are_those_of_the_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "suggest", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["checkpoints"]
    known = architectures()
    assert {row["source"] for row in rows} <= known.keys()
    for row in rows:
        expected = figures(known[row["source"]])
        assert {key: row[key] for key in expected} == expected, row["source"]
