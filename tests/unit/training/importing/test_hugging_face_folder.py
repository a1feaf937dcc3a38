"""A model as a folder of transformers: what that library makes of it, and what it cannot state."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, SiglipModel

from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.config import StartConfig
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.importing.hugging_face_folder import write_hugging_face_folder
from diptych_training.importing.pretrained import load_pretrained
from diptych_training.importing.source_model import open_source_model
from diptych_training.importing.weight_names import layout_of
from support.families import image_features, text_features
from support.hugging_face_checkpoints import make_siglip
from support.tiny_run import (
    TINY_LITE,
    TINY_POOLED_VIT,
    TINY_RESNET,
    TINY_STEMMED_VIT,
    TINY_VIT,
    write_tiny_run,
)

TEXTS = ["red heart", "  A House,\tby the SEA ", "don't", "cafe\u0301 9 99", "long " * 40]


def write(home: Path, model: str = "tiny", out: str = "hf") -> int:
    folders = ["--runs-dir", str(home / "runs"), "--model-repo", str(home / "models")]
    return main(["weights", model, "--layout", "hugging_face", "--out", str(home / out), *folders])


def of_unit_norm(features: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features, dim=-1).numpy()


def test_transformers_gives_the_embeddings_of_a_run(tmp_path):
    run = load_run(write_tiny_run(tmp_path / "runs" / "tiny", TINY_VIT))
    assert write(tmp_path) == 0
    folder = tmp_path / "hf"
    theirs, ours = CLIPModel.from_pretrained(folder), TorchEncoder(run.model, run.image_spec)

    pixels = np.random.default_rng(0).integers(0, 256, (3, 50, 50, 3), dtype=np.uint8)
    images = [Image.fromarray(image) for image in pixels]
    prepared = AutoImageProcessor.from_pretrained(folder, backend="pil")(images, return_tensors="pt")
    own = np.stack([preprocess(image, run.image_spec, ImageLimits()) for image in images])
    found = of_unit_norm(image_features(theirs, prepared["pixel_values"]))
    np.testing.assert_allclose(found, ours.encode_image(own), atol=1e-5)

    words = AutoTokenizer.from_pretrained(folder)
    prepared = words(TEXTS, padding=True, truncation=True, return_tensors="pt")
    own_words = TextTokenizer(run.tokenizer_file, run.text_spec)
    for text, ids in zip(TEXTS, words(TEXTS, truncation=True)["input_ids"], strict=True):
        assert own_words.ids(text)[0].tolist() == ids, text
    found = of_unit_norm(text_features(theirs, prepared["input_ids"]))
    np.testing.assert_allclose(found, ours.encode_text(own_words(TEXTS).input_ids), atol=1e-5)


def test_a_siglip_keeps_its_padding_and_its_tokenizer(tmp_path):
    checkpoint = make_siglip(tmp_path / "siglip")
    source = open_source_model(StartConfig(source=str(checkpoint)), tmp_path, tmp_path)
    write_hugging_face_folder(source, tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["text_config"]["projection_size"] == config["vision_config"]["hidden_size"]
    texts, pixels = ["red heart", "two dogs"], torch.rand(2, 3, 32, 32)
    found = []
    for folder in (checkpoint, tmp_path / "hf"):
        model, words = SiglipModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        ids = words(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        found.append(torch.cat([image_features(model, pixels), text_features(model, ids)]))
    torch.testing.assert_close(*found)


def test_what_cannot_be_written_leaves_nothing(tmp_path, capsys):
    for name, image, reason in (
        (
            "resnet",
            TINY_RESNET,
            "model.image is of kind resnet: transformers has no CLIP with such an image tower",
        ),
        ("lite", TINY_LITE, "model.image is of kind efficientnet_lite: transformers has no CLIP"),
        ("stem", TINY_STEMMED_VIT, "model.image has a stem: transformers has no CLIP with such an image"),
        ("siglip", TINY_POOLED_VIT, "text.pad_id is 0, token '!', which a text may contain"),
    ):
        write_tiny_run(tmp_path / "runs" / name, image)
        assert write(tmp_path, name) == 1
        assert reason in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


IMAGES = {"resnet": TINY_RESNET, "vit": TINY_VIT, "pooled": TINY_POOLED_VIT}


def write_of_weights_command(home: Path, model: str, layout: str, *more: str) -> int:
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
    assert write_of_weights_command(tmp_path, "tiny", layout) == 0
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
    assert write_of_weights_command(tmp_path, "tiny", "hugging_face") == 1
    assert "model.image is of kind resnet: transformers has no CLIP" in capsys.readouterr().err
    assert write_of_weights_command(tmp_path, "no-such", "original") == 1
    told = capsys.readouterr().err
    assert told.startswith("diptych-train: 'no-such' is not a folder, a run in ")
    assert told.count("\n") == 1
    assert "hub" not in told
    out = ["--out", str(tmp_path / "w.bin")]
    assert write_of_weights_command(tmp_path, "tiny", "original", *out) == 1
    assert "w.bin must end with .safetensors" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
