"""Published architectures as data files, named by recipes."""

from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import TrainConfig, dump_config, read_config
from diptych_training.errors import TrainingConfigError
from diptych_training.models.count import meta_model, model_size
from diptych_training.models.named_architectures import architecture_names, named_config

# Both towers, scale and bias. CLIP's are those of OpenAI's released files; SigLIP's those of Google's.
PUBLISHED = {
    "RN50": 102_007_137,
    "RN101": 119_688_033,
    "RN50x4": 178_300_601,
    "RN50x16": 290_979_217,
    "RN50x64": 623_258_305,
    "ViT-B-32": 151_277_313,
    "ViT-B-16": 149_620_737,
    "ViT-L-14": 427_616_513,
    "ViT-L-14-336": 427_944_193,
    "ViT-B-16-SigLIP": 203_155_970,
    "ViT-B-16-SigLIP-256": 203_202_050,
    "ViT-B-16-SigLIP-384": 203_447_810,
    "ViT-B-16-SigLIP-512": 203_791_874,
    "ViT-L-16-SigLIP-256": 652_150_786,
    "ViT-L-16-SigLIP-384": 652_478_466,
    "ViT-SO400M-14-SigLIP": 877_360_306,
    "ViT-SO400M-14-SigLIP-384": 877_960_498,
}
RECIPE = """
name = "small"
model = "{model}"

[run]
steps = 1
[optim]
warmup_steps = 1
"""


@pytest.mark.parametrize("name", architecture_names())
def test_an_architecture_has_its_published_number_of_parameters(name):
    assert model_size(meta_model(named_config(name))).n_all == PUBLISHED[name]


def recipe(tmp_path: Path, model: str, *overrides: str) -> TrainConfig:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE.format(model=model))
    return read_config(file, overrides)


@pytest.mark.parametrize("name", architecture_names())
def test_naming_an_architecture_is_enough_for_a_recipe(tmp_path, name):
    config = recipe(tmp_path, name)
    assert config.model == named_config(name)
    assert config.preprocess.size == config.model.image_size
    assert config.loss == ("sigmoid" if "SigLIP" in name else "softmax")
    (tmp_path / "written.toml").write_text(dump_config(config))
    assert read_config(tmp_path / "written.toml") == config


@pytest.mark.parametrize("name", ["ViT-L/14@336px", "ViT-L-14-336"])
def test_names_of_the_original_library_are_accepted(tmp_path, name):
    assert recipe(tmp_path, name).model.image_size == 336


def test_an_unknown_architecture_lists_the_known_ones(tmp_path):
    with pytest.raises(TrainingConfigError, match=r"unknown architecture 'ViT-B-33'; known: RN101, RN50"):
        recipe(tmp_path, "ViT-B-33")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=sigmoid"], "which needs model.initial_bias"),
        (
            ["loss=sigmoid", "model.initial_bias=-10", "label_smoothing=0.1"],
            'label_smoothing is 0.1: loss is "sigmoid", which judges each pair by itself',
        ),
        (["model.text.causal=false"], 'text.pad_to is "longest", but this text tower sees padding'),
        (["model.text.pool=last"], 'text.pad_to is "longest", but this text tower sees padding'),
    ],
)
def test_contradicting_keys_are_refused(tmp_path, overrides, message):
    with pytest.raises(TrainingConfigError, match=message):
        recipe(tmp_path, "ViT-B-32", *overrides)


def test_the_list_of_architectures_has_their_sizes(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    rows = printed.splitlines()
    assert len(rows) == 2 + len(PUBLISHED)
    (row,) = [row for row in rows if row.startswith("| ViT-B-32 ")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "ViT-B-32",
        "vit",
        "224",
        "77",
        "512",
        "151,277,313",
        "87,849,216",
        "63,428,097",
        "softmax",
    ]
