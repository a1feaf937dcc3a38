"""Checkpoints of other libraries as models of our own: same embeddings, or the reason why not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from transformers import CLIPConfig

from diptych_training.errors import NotConvertible
from diptych_training.importing.common.imported_model import Choices, Conversion, ImportedModel
from diptych_training.importing.conversion import architecture_of, convert
from diptych_training.importing.hugging_face.families import FAMILIES as LIBRARY_FAMILIES
from diptych_training.importing.hugging_face.own_architecture import own_architecture as of_transformers
from diptych_training.importing.hugging_face.towers import Padding
from diptych_training.importing.open_clip.own_architecture import own_architecture as of_open_clip
from diptych_training.importing.source import find_source
from support.families import FAMILIES, MLP_WIDTH
from support.hugging_face_checkpoints import make_clip, make_siglip
from support.open_clip_checkpoints import make_hf_text, make_resnet, make_timm_siglip, make_vit
from support.openai_checkpoints import make_openai_archive


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def load(path: Path, **choices: int) -> ImportedModel:
    return find_source(str(path), Choices(**choices)).load()


KINDS: dict[str, Callable[[Path], Path]] = {
    "clip of transformers": partial(make_clip, activation="gelu"),
    "siglip of transformers": make_siglip,
    "vit of open_clip": partial(make_vit, text={"mlp_ratio": 3.0}),
    "vit of open_clip, tower of texts apart": partial(make_vit, quick_gelu=True, custom_text=True),
    "resnet of open_clip": make_resnet,
    "archive of openai": lambda folder: make_openai_archive(folder / "ViT-tiny.pt"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_architecture_is_read_and_the_weights_give_the_librarys_embeddings(kind, tmp_path):
    imported = load(KINDS[kind](tmp_path / "checkpoint"))
    model = convert(imported)  # compares a few items
    assert model.config == architecture_of(imported)
    assert model.config.image_size == imported.image.size
    assert (model.logit_bias is None) == (imported.family == "clip")


def test_an_end_of_text_that_is_not_the_largest_id_has_no_equal(tmp_path):
    imported = load(make_clip(tmp_path / "clip"))
    config = CLIPConfig.from_pretrained(tmp_path / "clip")
    reason = "the end-of-text token has id 5, the tokenizer has ids up to 799: diptych's text tower takes"
    with pytest.raises(NotConvertible, match=reason):
        of_transformers(config, LIBRARY_FAMILIES["clip"], Padding(5, "everything"), imported.tokenizer)


@pytest.mark.parametrize(("options", "activation"), [({}, None), ({"approximate": "tanh"}, "gelu_tanh")])
def test_siglip_of_open_clip_is_read_from_timms_modules(options, activation):
    family = FAMILIES["siglip of open_clip"]
    text = family.config.text
    words = {"context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width}
    words |= {"heads": text.heads, "layers": text.layers, "mlp_ratio": MLP_WIDTH / text.width}
    words |= {"pool_type": "last", "no_causal_mask": True, "proj_bias": True, "act_kwargs": options}
    images = {"image_size": 32, "timm_model_name": "siglip", "timm_pool": "map", "timm_proj": "none"}
    config = {"embed_dim": family.config.embed_dim, "custom_text": True, "init_logit_bias": -10}
    config |= {"vision_cfg": images, "text_cfg": {**words, "norm_kwargs": {"eps": 1e-6}}}
    found = of_open_clip(config, family.theirs().visual)
    expected = text.model_copy(update={"activation": activation})
    assert found == family.config.model_copy(update={"text": expected})


def test_another_activation_than_the_librarys_is_noticed(tmp_path):
    imported = load(make_clip(tmp_path / "clip", layers=4))
    known = imported.conversion
    assert isinstance(known, Conversion)
    wrong = replace(known, config=known.config.model_copy(update={"activation": "gelu"}))
    with pytest.raises(NotConvertible, match="the image tower differs from the checkpoint's own library"):
        convert(replace(imported, conversion=wrong))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (partial(make_vit, vision={"ls_init_value": 0.1}), "vision_cfg.ls_init_value is 0.1: diptych has no"),
        (partial(make_vit, vision={"mlp_ratio": 2.0}), "vision_cfg.mlp_ratio is 2.0: diptych has no"),
        (partial(make_vit, text={"pool_type": "first"}), "text_cfg.pool_type is first: diptych has argmax"),
        (make_hf_text, "text_cfg.hf_model_name is 'tiny/roberta': diptych has no such architecture"),
        (make_timm_siglip, "not part of the model: visual.trunk"),
        (partial(make_siglip, attention_mask=True), "the tokenizer asks for an attention mask"),
    ],
)
def test_what_we_have_not_is_named(make, reason, tmp_path):
    with pytest.raises(NotConvertible, match=reason):
        convert(load(make(tmp_path / "checkpoint")))
