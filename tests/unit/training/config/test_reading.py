"""Recipes: TOML, overrides, and errors that name the key."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from diptych_training.config import StartConfig, TrainConfig, dump_config, model_tables, read_config, start_of
from diptych_training.errors import TrainingConfigError
from diptych_training.models import build_model
from diptych_training.paths import CONFIGS

SHIPPED = sorted(CONFIGS.glob("*.toml"))
DEFAULT = CONFIGS / "pictograms.toml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid_and_named_after_its_file(path):
    read = read_config(path, start_tables=lambda values: model_tables(read_config(DEFAULT)))
    assert read.name == path.stem


def test_recipe_keys_override_the_tables_of_the_start_model(tmp_path: Path):
    (tmp_path / "more.toml").write_text(
        'name = "more"\nstart = "some/1"\n[run]\nsteps = 300\n[text.prompts]\ndefault = ["icon: {}"]\n'
    )
    asked: list[object] = []
    default = read_config(DEFAULT)
    read = read_config(
        tmp_path / "more.toml",
        start_tables=lambda values: asked.append(values["start"]) or model_tables(default),
    )
    assert asked == ["some/1"]
    assert (read.start, read.model) == (StartConfig(source="some/1"), default.model)
    assert read.text.prompts == {**default.text.prompts, "default": ["icon: {}"]}
    assert read.text.context_length == default.text.context_length


def test_preprocessing_defaults_follow_the_model(tmp_path: Path):
    whole = (CONFIGS / "tiny.toml").read_text()
    start, end = whole.index("[preprocess]"), whole.index("[augment]")
    path = tmp_path / "tiny.toml"
    path.write_text(whole[:start] + whole[end:])
    assert read_config(path) == read_config(CONFIGS / "tiny.toml")
    larger = ["model.image_size=128", "model.text.context_length=9", "model.text.causal=false"]
    read = read_config(path, [*larger, "model.text.pool=last", "preprocess.resize_mode=squash"])
    assert (read.preprocess.size, read.preprocess.resize_mode) == (128, "squash")
    assert (read.text.context_length, read.text.pad_to) == (9, "context_length")
    with pytest.raises(TrainingConfigError, match="preprocess is missing; text is missing"):
        read_config(path, start="weights.pt")  # which learned by a preparation of their own
    with pytest.raises(
        TrainingConfigError, match=r'toml: model\.embed_dim is "many": must be a whole number$'
    ):
        read_config(path, ["model.embed_dim=many"])


def test_the_model_of_drawings_fits_the_size_limit_of_its_bundle():
    model = build_model(read_config(CONFIGS / "pictograms.toml").model)
    n_parameters, table = sum(p.numel() for p in model.parameters()), model.token_embedding.weight.numel()
    # In 30 MB: as safetensors and graphs in float16, and as int8 graphs, whose table of tokens is float32.
    assert n_parameters * (2 + 2 + 1) + table * (4 - 1) <= 29_000_000


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
        ("run.step=7", "run.step: unknown key; did you mean steps"),
        ("model.image.depth=7", "toml: model.image.depth: unknown key; known keys: .*kind"),
        (
            "model.image.kind=mlp",
            "toml: model.image.kind is \"mlp\": must be one of 'resnet', 'vit', 'pooled_vit'",
        ),
        ("run.steps=0", "toml: run.steps is 0: must be greater than 0"),
        ("run.steps=many", 'toml: run.steps is "many": must be a whole number'),
        ("run=7", "toml: run is 7: must be a table"),
        ("data.pairs.train=[]", r"toml: data.pairs.train is \[\]: must have at least 1 item"),
        ("run.precision=fp16", "toml: run.precision is \"fp16\": must be 'fp32' or 'bf16'"),
        ("lock.scale=often", 'toml: lock.scale is "often": must be true or false'),
        ("augment.scale=[1.0]", "toml: augment.scale.1 is missing"),
        (
            "augment.invert_probability=2",
            "toml: augment.invert_probability is 2: must be less than or equal to 1",
        ),
        ("model.image_size=30", "toml: model: image_size 30 is not a multiple of the stride"),
        ("text.context_length=9", "text.context_length is 9, it must equal model.text.context_length, 24"),
        ("name=Über", 'toml: name is "Über": must match'),
        ("optim.warmup_steps=99999", "optim.warmup_steps is 99999, it must be at most run.steps, 13000"),
        ("optim.lr=inf", "optim.lr is inf: must be a finite number"),
        ("augment.scale=[1.2, 0.8]", "scale is 1.2 to 0.8"),
        ("text.pad_id=4096", "text.pad_id is 4096, it must be below model.text.vocab_size 4096"),
        ("run.steps", "must be key=value, as in run.steps=100"),
        ("name.first=x", "name is a value, not a table"),
    ],
)
def test_a_bad_key_or_value_is_named(override, message):
    with pytest.raises(TrainingConfigError, match=message):
        read_config(CONFIGS / "pictograms.toml", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "text_teacher.template_probability=0",
            "model.text.routed is true, but nothing teaches it: set text_",
        ),
        ("text_teacher.templates.drawing=['icon']", r"template 'icon' must have exactly one \{\}"),
        ("text_teacher.templates.painting=['{}']", "must be 'photograph', 'drawing' or 'either'"),
    ],
)
def test_templates_that_cannot_teach_a_route_are_named(override, message):
    with pytest.raises(TrainingConfigError, match=message):
        read_config(CONFIGS / "everyday.toml", [override])


def number_keys(table: type[BaseModel], path: str = "") -> Iterator[str]:
    """The keys of a recipe that take numbers: one kind of each tower, and all nested tables."""
    for key, field in table.model_fields.items():
        parts = [field.annotation, *get_args(field.annotation)]
        inner = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        if inner:
            is_named = get_origin(field.annotation) is dict  # tables by any name
            yield from number_keys(inner[0], f"{path}{key}.{'any.' if is_named else ''}")
        elif {int, float} & {leaf for part in parts for leaf in (part, *get_args(part))}:
            yield f"{path}{key}"


NUMBERS = sorted(number_keys(TrainConfig))


@pytest.mark.parametrize("key", [key for key in NUMBERS if key not in ("lock.image", "lock.text")])
def test_booleans_are_refused_in_place_of_numbers(key):
    with pytest.raises(TrainingConfigError, match=rf"toml: .*\b{key} is true: must be a number"):
        read_config(DEFAULT, [f"{key}=true"])
    with pytest.raises(TrainingConfigError, match=rf"toml: .*\b{key} is \[1, false\]: must be a number"):
        read_config(DEFAULT, [f"{key}=[1, false]"])


@pytest.mark.parametrize(
    ("given", "message"),
    [("5", "start is 5: must be a table"), ("{which='last'}", "start.source is missing")],
)
def test_an_incomplete_start_is_named(given, message):
    with pytest.raises(TrainingConfigError, match=message):
        read_config(CONFIGS / "finetune.toml", [f"start={given}"], start_tables=start_of)


def test_a_missing_or_broken_file_is_named(tmp_path: Path):
    with pytest.raises(TrainingConfigError, match="no such recipe"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(TrainingConfigError, match=r"cannot read the recipe: Is a directory"):
        read_config(tmp_path)
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(TrainingConfigError, match="not TOML"):
        read_config(tmp_path / "broken.toml")
