"""What is read from open_clip's checkpoints, and what is refused and why."""

import json
import math
import os
import pickle
import zipfile
from pathlib import Path

import open_clip
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.common.torchscript import is_torchscript, read_torchscript
from diptych_training.importing.open_clip import load_open_clip
from support.open_clip_checkpoints import (
    LOGIT_SCALE,
    SIGLIP_BIAS,
    SIGLIP_SCALE,
    build,
    make_checkpoint,
    make_timm_siglip,
    make_vit,
    siglip_vocabulary,
    vit_config,
)
from support.openai_checkpoints import make_openai_archive, make_openai_state_dict, openai_model

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
TINY = "tiny-ViT-of-the-tests"
SAID = Choices(
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    interpolation="bilinear",
    resize_mode="squash",
    architecture=TINY,
)


@pytest.fixture
def vit(tmp_path):
    return make_vit(tmp_path / "vit", layers=1)


@pytest.fixture
def tiny_architecture(tmp_path):
    """open_clip's list of architectures, with a small one that nobody has published weights of."""
    file = tmp_path / f"{TINY}.json"
    config = vit_config(layers=1)
    file.write_text(json.dumps(config))
    open_clip.add_model_config(file)
    return config


def change_config(folder, part, **values):
    file = folder / CONFIG
    config = json.loads(file.read_text())
    config[part].update(values)
    file.write_text(json.dumps(config))


def change_weights(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_everything_comes_from_the_checkpoint(vit):
    (vit / "README.md").write_text("---\nlicense: mit\n---\n# a model\n")
    change_config(vit, "preprocess_cfg", interpolation="bilinear", resize_mode="longest", fill_color=7)
    imported = load_open_clip(vit, Choices())
    assert (imported.family, imported.logit_bias, imported.licence) == ("clip", 0.0, "mit")
    assert imported.logit_scale == pytest.approx(LOGIT_SCALE, rel=1e-6)
    image = imported.image
    assert (image.size, image.interpolation, image.resize_mode, image.crop) == (
        32,
        "bilinear",
        "longest",
        "round",
    )
    assert image.fill_color == (7, 7, 7)
    text = imported.text
    assert (text.context_length, text.clean, text.pad_to, text.pad_id) == (77, "clip", "longest", 0)
    assert imported.source["library"] == "open_clip"
    assert imported.source["architecture"] == "custom"
    assert imported.source["checkpoint"] == "vit"
    json.dumps(imported.source)


def test_trained_bias_makes_the_family_siglip(tmp_path):
    imported = load_open_clip(make_timm_siglip(tmp_path / "siglip"), Choices())
    assert imported.family == "siglip"
    assert imported.logit_scale == pytest.approx(SIGLIP_SCALE, rel=1e-6)
    assert imported.logit_bias == pytest.approx(SIGLIP_BIAS)
    assert (imported.text.pad_to, imported.text.pad_id, imported.text.clean) == (
        "context_length",
        1,
        "canonical",
    )


def test_cased_texts_for_clips_own_tokenizer_stay_cased(tmp_path):
    config = vit_config(text={"tokenizer_kwargs": {"clean": "whitespace"}}, layers=1)
    imported = load_open_clip(make_checkpoint(tmp_path / "model", config), Choices())
    assert imported.text.clean == "clip_cased"
    imported.tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json", imported.text)
    for text in ("A Cat &amp; a DOG", "It'LL rain", "a cat"):
        assert tokenizer.ids(text)[0].tolist() == imported.library.input_ids(text)


def test_missing_unexpected_and_transposed_tensors_are_named(vit):
    def spoil(tensors):
        del tensors["visual.proj"]
        tensors["visual.project"] = torch.zeros(2)
        tensors["visual.conv1.weight"] = tensors["visual.conv1.weight"].transpose(0, 1).contiguous()

    change_weights(vit, spoil)
    with pytest.raises(ImportFailed) as caught:
        load_open_clip(vit, Choices())
    assert "missing: visual.proj" in str(caught.value)
    assert "unexpected: visual.project" in str(caught.value)
    assert "visual.conv1.weight (3, 64, 8, 8), not (64, 3, 8, 8)" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1000.0, "logit_scale is 1000, the logarithm of the logit scale: the scale must"),
        (100.0, "logit_scale is 100, the logarithm"),
        (-1000.0, "logit_scale is -1000, the logarithm"),
        (math.nan, "logit_scale has 1 of 1 numbers that are not finite"),
    ],
)
def test_absurd_scale_of_logits_is_named_with_its_meaning(vit, value, message):
    change_weights(vit, lambda tensors: tensors["logit_scale"].fill_(value))
    with pytest.raises(ImportFailed, match=message):
        load_open_clip(vit, Choices())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"interpolation": "random"}, "interpolation is random"),
        ({"interpolation": "nearest"}, "interpolation is nearest"),
        ({"resize_mode": "stretch"}, "resize_mode is stretch"),
        ({"mode": "L"}, "mode is L"),
        ({"mean": None}, "pass --mean"),
        ({"std": [0.1, 0.2]}, "std"),
    ],
)
def test_preprocessing_that_cannot_be_served_is_refused(vit, values, message):
    change_config(vit, "preprocess_cfg", **values)
    with pytest.raises(ImportFailed, match=message):
        load_open_clip(vit, Choices())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(std=(0.1, 0.2, 0.3)), "--std says"),
        (Choices(image_size=64), "--image-size is 64"),
        (Choices(context_length=32), "--context-length is 32"),
        (Choices(architecture="ViT-B-32"), "leave --architecture ViT-B-32 out"),
    ],
)
def test_what_the_checkpoint_says_cannot_be_contradicted(vit, choices, message):
    with pytest.raises(ImportFailed, match=message):
        load_open_clip(vit, choices)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (vit_config(text={"pool_type": "none"}, layers=1), "pool_type is none"),
        (vit_config(text={"vocab_size": 100}, layers=1), "100 tokens.*--tokenizer"),
        (vit_config(text={"tokenizer_kwargs": {"reduction_mask": "simple"}}, layers=1), "reduction_mask"),
    ],
)
def test_text_that_cannot_be_served_is_refused(tmp_path, config, message):
    with pytest.raises(ImportFailed, match=message):
        load_open_clip(make_checkpoint(tmp_path / "model", config), Choices())


def test_timm_model_from_a_hub_is_not_fetched(vit):
    change_config(
        vit, "model_cfg", vision_cfg={"timm_model_name": "hf-hub:somebody/something", "image_size": 32}
    )
    with pytest.raises(ImportFailed, match="hf-hub:somebody/something"):
        load_open_clip(vit, Choices())


def test_vocabulary_file_gives_the_ids_of_the_saved_tokenizer(tmp_path):
    folder = make_timm_siglip(tmp_path / "siglip")
    saved = load_open_clip(folder, Choices())
    vocabulary = siglip_vocabulary(tmp_path / "alone")
    converted = load_open_clip(folder, Choices(tokenizer=str(vocabulary)))
    original = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    for text in ("a photo of a cat", "zwei bäume im regen", "猫 dog", ""):
        assert converted.tokenizer.encode(text).ids == [*original.encode(text), original.eos_id()]
        assert converted.tokenizer.encode(text).ids == saved.tokenizer.encode(text).ids
        assert converted.library.input_ids(text) == saved.library.input_ids(text)


def test_bare_weights_of_a_published_architecture_do_not_say_their_preprocessing_either(vit):
    with pytest.raises(ImportFailed) as caught:
        load_open_clip(vit / WEIGHTS, Choices(architecture="ViT-L-14"))
    message = str(caught.value)
    assert "pass --mean, --std, --interpolation, --resize-mode; published weights of ViT-L-14 take" in message
    assert "--mean 0.48145466,0.4578275,0.40821073 --std 0.26862954,0.26130258,0.27577711" in message
    assert "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --interpolation bicubic" in message


def test_training_checkpoint_is_read_with_its_architecture(tmp_path, tiny_architecture):
    state = build(tiny_architecture).state_dict()
    file = tmp_path / "epoch_1.pt"
    torch.save(
        {
            "epoch": 1,
            "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
            "optimizer": {},
        },
        file,
    )
    imported = load_open_clip(file, SAID)
    assert (imported.image.mean, imported.image.resize_mode) == (SAID.mean, "squash")
    assert imported.source["architecture"] == TINY


def test_bare_weights_need_an_architecture(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"some.weight": torch.zeros(2)}, file)
    with pytest.raises(ImportFailed, match="pass --architecture"):
        load_open_clip(file, Choices())


@pytest.mark.parametrize("kind", ["vit", pytest.param("resnet", marks=pytest.mark.long)])
def test_original_determines_its_architecture(tmp_path, kind):
    archive = load_open_clip(make_openai_archive(tmp_path / "ViT-X.pt", kind), Choices())
    state_dict = load_open_clip(make_openai_state_dict(tmp_path / "state.pt", kind), Choices())
    for imported in (archive, state_dict):
        assert imported.source["library"] == "openai"
        assert imported.image.size == (64 if kind == "resnet" else 32)
        assert imported.image.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
        assert imported.logit_scale == pytest.approx(LOGIT_SCALE, rel=1e-6)
        assert {parameter.dtype for parameter in imported.model.parameters()} == {torch.float32}
    assert archive.source["architecture"] == "ViT-X"


def test_archive_gives_every_tensor_without_running_it(tmp_path):
    file = make_openai_archive(tmp_path / "model.pt")
    assert is_torchscript(file)
    assert not is_torchscript(make_openai_state_dict(tmp_path / "state.pt"))
    found = read_torchscript(file)
    for name, expected in openai_model().state_dict().items():
        stored = expected.half() if expected.ndim > 1 else expected
        assert torch.equal(found[name], stored), name
    assert math.isclose(found["logit_scale"].exp(), LOGIT_SCALE, rel_tol=1e-5)


def write_archive(file: Path, tree: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/constants.pkl", pickle.dumps(()))
        archive.writestr("model/data.pkl", tree)
    return file


class Command:
    """Pickles as a call of `os.mkdir`."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_archive_that_asks_for_anything_else_is_refused_and_not_run(tmp_path):
    file = write_archive(tmp_path / "bad.pt", pickle.dumps(Command(tmp_path / "made")))
    with pytest.raises(ImportFailed, match=r"mkdir, which is not allowed"):
        load_open_clip(file, Choices())
    assert not (tmp_path / "made").exists()


def test_damaged_archive_is_refused(tmp_path):
    whole = make_openai_archive(tmp_path / "model.pt")
    with zipfile.ZipFile(whole) as archive:
        tree = archive.read("model/data.pkl")
    for damaged in (tree[:100], b"", tree):  # the last: the tree alone, without numbers
        with pytest.raises(ImportFailed, match="damaged archive"):
            load_open_clip(write_archive(tmp_path / "damaged.pt", damaged), Choices())


def test_pickled_objects_are_refused_and_not_run(tmp_path):
    file = tmp_path / "weights.pt"
    torch.save({"state_dict": Command(tmp_path / "made")}, file)
    with pytest.raises(ImportFailed, match=r"weights\.pt: .*uses \w+\.mkdir; only tensors") as caught:
        load_open_clip(file, Choices(architecture="ViT-B-32"))
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "made").exists()
