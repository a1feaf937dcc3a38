"""Every architecture that open_clip lists is built without asking anybody, on a device without memory."""

import open_clip
import pytest
import torch
from open_clip.hf_configs import arch_dict

from diptych_training.errors import ImportFailed
from diptych_training.importing.open_clip.architecture import Architecture
from diptych_training.importing.open_clip.build import build_model, local_config
from diptych_training.importing.open_clip.towers import text_tower

ONE_OF_EACH = [
    "RN50-quickgelu",
    "ViT-B-32",
    "ViT-L-14-CLIPA",
    "coca_ViT-B-32",
    "coca_roberta-ViT-B-32",
    "convnext_base",
    "ViT-B-16-SigLIP2",
    "MobileCLIP2-S0",
    "PE-Core-B-16",
    "mt5-base-ViT-B-32",
    "nllb-clip-base",
]
MODELS = [
    pytest.param(name, marks=() if name in ONE_OF_EACH else pytest.mark.long)
    for name in open_clip.list_models()
]


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.parametrize("name", MODELS)
def test_listed_architecture_is_built_and_has_a_text_tower(name):
    architecture = Architecture(name, open_clip.get_model_config(name), preprocess={})
    with torch.device("meta"):
        model = build_model(architecture)
    tower = text_tower(model)
    assert tower.vocab_size == architecture.model["text_cfg"].get("vocab_size", tower.vocab_size)


def test_text_towers_that_the_list_names_are_known():
    named = {
        open_clip.get_model_config(name)["text_cfg"].get("hf_model_name") for name in open_clip.list_models()
    }
    for name in named - {None}:
        with local_config(name, None):
            pass
    with (
        pytest.raises(ImportFailed, match=f"model_type one of {', '.join(arch_dict)}"),
        local_config("somebody/something", None),
    ):
        pass
