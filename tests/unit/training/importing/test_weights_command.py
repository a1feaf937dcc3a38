"""`diptych-train weights`: a model's weights under the names of other libraries, from the command line."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.importing.pretrained import load_pretrained
from diptych_training.importing.weight_names import layout_of
from support.tiny_run import TINY_POOLED_VIT, TINY_RESNET, TINY_VIT, write_tiny_run

IMAGES = {"resnet": TINY_RESNET, "vit": TINY_VIT, "pooled": TINY_POOLED_VIT}


def write(home: Path, model: str, layout: str, *more: str) -> int:
    folders = ["--runs-dir", str(home / "runs"), "--model-repo", str(home / "models")]
    return main(["weights", model, "--layout", layout, "--out", str(home / "w.safetensors"), *folders, *more])


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("resnet", "original"), ("resnet", "open_clip"), ("vit", "original"), ("vit", "open_clip"),
        ("vit", "hugging_face"), ("pooled", "open_clip"), ("pooled", "hugging_face"),
    ],
)  # fmt: skip
def test_weights_are_written_under_the_names_of_each_library(tmp_path, capsys, kind, layout):
    run = load_run(write_tiny_run(tmp_path / "runs" / "tiny", IMAGES[kind]))
    assert write(tmp_path, "tiny", layout) == 0
    ours = run.model.state_dict()
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        names = list(file.keys())
        assert file.metadata() == {"format": "pt"}
        assert layout_of(dict.fromkeys(names)) == layout
    assert f"tiny (best, step 7), {len(names)} tensors" in capsys.readouterr().out
    read = load_pretrained(tmp_path / "w.safetensors", run.model_config)
    assert read.keys() == ours.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in ours.items())


def test_what_cannot_be_written_is_one_line(tmp_path, capsys):
    write_tiny_run(tmp_path / "runs" / "tiny")
    assert write(tmp_path, "tiny", "hugging_face") == 1
    assert "model.image is of kind resnet: transformers has no CLIP" in capsys.readouterr().err
    assert write(tmp_path, "no-such", "original") == 1
    told = capsys.readouterr().err
    assert told.startswith("diptych-train: 'no-such' is not a folder, a run in ")
    assert told.count("\n") == 1
    assert "hub" not in told
    out = ["--out", str(tmp_path / "w.bin")]
    assert write(tmp_path, "tiny", "original", *out) == 1
    assert "w.bin must end with .safetensors" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
