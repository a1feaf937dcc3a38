"""Recipes: TOML, overrides, and errors that name the key."""

from pathlib import Path

import pytest

from diptych_training.config import StartConfig, dump_config, model_tables, read_config
from diptych_training.errors import TrainingConfigError
from diptych_training.models import build_model
from diptych_training.train.command import CONFIGS

SHIPPED = sorted(CONFIGS.glob("*.toml"))
DEFAULT = CONFIGS / "pictograms.toml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_reads_and_bears_its_file_name(path):
    read = read_config(path, beneath=lambda values: model_tables(read_config(DEFAULT)))
    assert read.name == path.stem


def test_a_recipe_is_laid_over_the_tables_of_its_start_key_by_key(tmp_path: Path):
    (tmp_path / "more.toml").write_text(
        'name = "more"\nstart = "some/1"\n[run]\nsteps = 300\n[text.prompts]\ndefault = ["icon: {}"]\n'
    )
    asked: list[object] = []
    default = read_config(DEFAULT)
    read = read_config(
        tmp_path / "more.toml", beneath=lambda values: asked.append(values["start"]) or model_tables(default)
    )
    assert asked == ["some/1"]
    assert (read.start, read.model) == (StartConfig(source="some/1"), default.model)
    assert read.text.prompts == {**default.text.prompts, "default": ["icon: {}"]}
    assert read.text.context_length == default.text.context_length


def test_the_default_model_leaves_room_for_its_bundle_limit():
    model = build_model(read_config(CONFIGS / "pictograms.toml").model)
    n_bytes = sum(parameter.numel() for parameter in model.parameters()) * 4
    assert 2 * n_bytes <= 29_000_000  # a bundle has the weights twice, as graph and as safetensors, in 30 MB


def test_a_written_recipe_reads_back(tmp_path: Path):
    config = read_config(DEFAULT, ["run.ema_decay=0.9"])
    (tmp_path / "config.toml").write_text(dump_config(config))
    assert read_config(tmp_path / "config.toml") == config


def test_overrides_take_toml_values_and_bare_words():
    config = read_config(
        DEFAULT,
        [
            "run.steps=7",
            "optim.warmup_steps=2",
            "data.mixture={icons = 1.0}",
            "name=other",
            "run.precision=fp32",
        ],
    )
    assert (config.run.steps, config.name, config.run.precision) == (7, "other", "fp32")
    assert config.data.mixture == {"icons": 1.0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.step=7", "run.step: unknown key"),
        ("model.image.depth=7", "model.image.resnet.depth: unknown key"),
        ("run.steps=0", "run.steps: Input should be greater than 0"),
        ("augment.invert_probability=2", "augment.invert_probability: "),
        ("model.image_size=30", "not a multiple of the stride"),
        ("text.context_length=9", "text.context_length 9 is not model.text.context_length"),
        ("preprocess.size=32", "preprocess.size 32 is not model.image_size"),
        ("name=Über", "name: "),
        ("optim.warmup_steps=9999", "optim.warmup_steps 9999 is more than run.steps 4300"),
        ("optim.lr=inf", "optim.lr: Input should be a finite number"),
        ("optim.beta2=1.0", "optim.beta2: Input should be less than 1"),
        ("augment.scale=[1.2, 0.8]", "scale is 1.2 to 0.8"),
        ("text.pad_id=4096", "text.pad_id is 4096, it must be below model.text.vocab_size 4096"),
        ("run.steps", "must be key=value"),
        ("name.first=x", "name is a value, not a table"),
    ],
)
def test_a_bad_key_or_value_is_named(override, message):
    with pytest.raises(TrainingConfigError, match=message):
        read_config(CONFIGS / "pictograms.toml", [override])


def test_a_name_is_taken_as_it_is_even_if_it_looks_like_a_number():
    assert read_config(CONFIGS / "tiny.toml", name="7").name == "7"


def test_a_share_of_steps_on_small_images_needs_their_size():
    with pytest.raises(TrainingConfigError, match=r"start_fraction is 0\.5, but start_size is missing"):
        read_config(CONFIGS / "tiny.toml", ["run.start_fraction=0.5"])


def test_a_missing_or_broken_file_is_named(tmp_path: Path):
    with pytest.raises(TrainingConfigError, match="no such configuration"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(TrainingConfigError, match="not TOML"):
        read_config(tmp_path / "broken.toml")
