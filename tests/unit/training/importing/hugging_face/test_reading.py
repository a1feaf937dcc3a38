"""What a transformers checkpoint says is read, and what it does not say is asked for."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from diptych_training.errors import ImportFailed
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.hugging_face import load_hugging_face
from support.hugging_face_checkpoints import (
    CONTEXT_LENGTH,
    make_align,
    make_chinese_clip,
    make_clip,
    make_siglip,
    make_siglip2_naflex,
)

SAID = Choices(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bilinear", resize_mode="squash")


@pytest.fixture
def clip(tmp_path) -> Path:
    return make_clip(tmp_path / "clip")


def edit(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text())
    for name, value in changes.items():
        if value is None:
            content.pop(name)
        else:
            content[name] = value
    file.write_text(json.dumps(content))


def edit_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def refusal(folder: Path, choices: Choices | None = None) -> str:
    with pytest.raises(ImportFailed) as caught:
        load_hugging_face(folder, choices or Choices())
    return str(caught.value)


def test_clip_says_everything_itself(clip):
    (clip / "README.md").write_text("---\nlicense: mit\n---\n# a model\n")
    imported = load_hugging_face(clip, Choices())
    assert (imported.family, imported.embed_dim, imported.licence) == ("clip", 24, "mit")
    assert imported.logit_scale == pytest.approx(100)
    assert imported.logit_bias == 0
    image, text = imported.image, imported.text
    assert (image.size, image.resize, image.resize_mode, image.crop) == (32, None, "shortest", "floor")
    assert (image.interpolation, image.mean[0]) == ("bicubic", 0.48145466)
    assert (text.context_length, text.pad_to, text.clean) == (CONTEXT_LENGTH, "longest", "none")
    assert imported.source["checkpoint"] == "clip"
    assert str(clip.parent) not in json.dumps(imported.source)


def test_siglip_texts_are_filled_to_their_full_length(tmp_path):
    imported = load_hugging_face(make_siglip(tmp_path / "siglip"), Choices())
    assert (imported.family, imported.text.pad_to, imported.text.pad_id) == ("siglip", "context_length", 1)
    assert imported.logit_scale == pytest.approx(110)
    assert imported.logit_bias == pytest.approx(-15)
    assert (imported.image.resize_mode, imported.image.interpolation) == ("squash", "bilinear")


def test_rescaling_of_align_is_folded_into_mean_and_std(tmp_path):
    imported = load_hugging_face(make_align(tmp_path / "align"), Choices())
    assert imported.image.mean == pytest.approx((0.55, 0.5, 0.45))
    assert imported.image.std == pytest.approx((0.45, 0.5, 0.55))
    assert (imported.image.size, imported.image.resize) == (64, 72)
    assert imported.logit_scale == pytest.approx(100)


def test_state_dict_of_torch_loads_without_pickled_code(clip):
    torch.save(load_file(clip / "model.safetensors"), clip / "pytorch_model.bin")
    (clip / "model.safetensors").unlink()
    assert load_hugging_face(clip, Choices()).embed_dim == 24


def test_pickled_code_in_a_state_dict_is_refused(clip):
    torch.save({"logit_scale": Path("/code")}, clip / "pytorch_model.bin")
    (clip / "model.safetensors").unlink()
    message = refusal(clip)
    assert "pytorch_model.bin uses pathlib." in message
    assert "only tensors are read from a pickle" in message
    assert "\n" not in message
    assert "weights_only" not in message


def test_shards_are_read_through_their_index(clip, tmp_path):
    model = load_hugging_face(clip, Choices()).model.model
    model.save_pretrained(tmp_path / "sharded", max_shard_size="50KB")
    for file in clip.glob("*.json"):
        if not (tmp_path / "sharded" / file.name).exists():
            (tmp_path / "sharded" / file.name).write_bytes(file.read_bytes())
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    assert load_hugging_face(tmp_path / "sharded", Choices()).embed_dim == 24


def test_missing_tensor_is_named(clip):
    edit_weights(clip, lambda tensors: tensors.pop("visual_projection.weight"))
    assert "missing: visual_projection.weight" in refusal(clip)


@pytest.mark.parametrize("value", [1000.0, 100.0, -1000.0])
def test_absurd_scale_of_logits_is_named_with_its_meaning(clip, value):
    edit_weights(clip, lambda tensors: tensors["logit_scale"].fill_(value))
    assert f"logit_scale is {value:g}, the logarithm of the logit scale" in refusal(clip)


def test_licence_is_said_where_the_model_card_says_none_and_contradicts_no_card(clip):
    assert load_hugging_face(clip, Choices(licence="mit")).licence == "mit"
    (clip / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert "--licence mit contradicts clip/README.md, which says apache-2.0" in refusal(
        clip, Choices(licence="mit")
    )


@pytest.mark.parametrize("model_type", ["clip_vision_model", "siglip_text_model", "vit", "blip"])
def test_other_models_are_refused_with_a_list_of_what_is_supported(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    message = refusal(tmp_path)
    assert model_type in message
    assert "clip, metaclip_2, siglip, chinese_clip, altclip, align" in message


def test_without_a_processor_file_the_flags_are_named(clip):
    (clip / "preprocessor_config.json").unlink()
    assert "pass --mean, --std, --interpolation, --resize-mode" in refusal(clip)
    imported = load_hugging_face(clip, SAID)
    assert (imported.image.mean, imported.image.std) == (SAID.mean, SAID.std)
    assert (imported.image.size, imported.image.resize_mode) == (32, "squash")


def test_flag_that_contradicts_the_checkpoint_is_refused(clip):
    assert "--mean (0.1, 0.2, 0.3) contradicts the checkpoint" in refusal(clip, SAID)
    assert "--image-size 48: the checkpoint takes 32" in refusal(clip, Choices(image_size=48))


@pytest.mark.parametrize("choices", [Choices(), Choices(image_size=32)])
def test_images_of_any_shape_are_refused_with_what_to_import_instead(tmp_path, choices):
    message = refusal(make_siglip2_naflex(tmp_path / "naflex"), choices)
    assert "SigLIP 2 NaFlex, which keeps the aspect ratio of each image" in message
    assert "a SigLIP 2 with a fixed image size instead, such as google/siglip2-base-patch16-256" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_resize": False}, "do_resize is false"),
        ({"do_center_crop": False}, "not square"),
        ({"crop_size": {"height": 32, "width": 24}}, "crop_size is {'height': 32, 'width': 24}"),
        ({"size": {"height": 32, "width": 24}}, "size is {'height': 32, 'width': 24}"),
        ({"size": {"shortest_edge": 24}}, "crop_size 32 is larger than size 24"),
        ({"size": {"shortest_edge": 20, "longest_edge": 60}}, "a bundle takes one square"),
        ({"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}, "image_size is 32"),
        ({"image_mean": [0.5]}, "must have 3 values"),
        ({"image_std": [0.5, 0.0, 0.5]}, "std"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "ConvNextImageProcessorPil"),
    ],
)
def test_images_that_a_bundle_cannot_express_are_refused(clip, changes, message):
    edit(clip / "preprocessor_config.json", **changes)
    assert message in refusal(clip)


def test_missing_tokenizer_names_its_flag_and_another_folder_serves(clip, tmp_path):
    apart = tmp_path / "tokenizer"
    apart.mkdir()
    for file in clip.glob("tokenizer*"):
        file.rename(apart / file.name)
    assert "--tokenizer" in refusal(clip)
    assert load_hugging_face(clip, Choices(tokenizer=str(apart))).text.pad_to == "longest"


def test_reading_opens_no_connection(clip, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load_hugging_face(clip, Choices()).embed_dim == 24


def test_code_of_the_checkpoint_never_runs(clip, tmp_path):
    trace = tmp_path / "trace"
    (clip / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Evil: pass\n")
    for file, key in (
        ("config.json", "AutoModel"),
        ("preprocessor_config.json", "AutoImageProcessor"),
        ("tokenizer_config.json", "AutoTokenizer"),
    ):
        reference = ["evil.Evil", "evil.Evil"] if key == "AutoTokenizer" else "evil.Evil"
        edit(clip / file, auto_map={key: reference})
    assert load_hugging_face(clip, Choices()).embed_dim == 24
    assert not trace.exists()


def test_text_tower_that_sees_its_padding_is_filled_to_the_full_length(tmp_path):
    folder = make_chinese_clip(tmp_path / "chinese")
    assert load_hugging_face(folder, Choices()).text.pad_to == "longest"
    edit(folder / "tokenizer_config.json", model_input_names=["input_ids"])
    assert load_hugging_face(folder, Choices()).text.pad_to == "context_length"
