"""The series of models: by width, and eight in the proportions of tables 19 and 20 of Radford et al. 2021."""

from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import TrainConfig, read_config
from diptych_training.models.count import meta_model, model_size
from diptych_training.paths import recipe_file
from diptych_training.study.plan import of_width
from diptych_training.train.flops import training_flops
from support.tiny_run import write_tiny_dataset

# Of the paper: embed_dim, image side, blocks of each stage, features, width and heads of texts, rate.
RESNETS = {
    "rn-1": (1024, 224, (3, 4, 6, 3), 2048, 512, 8, 5e-4),  # RN50
    "rn-2": (512, 224, (3, 4, 23, 3), 2048, 512, 8, 5e-4),  # RN101
    "rn-3": (640, 288, (4, 6, 10, 6), 2560, 640, 10, 5e-4),  # RN50x4
    "rn-4": (768, 384, (6, 8, 18, 8), 3072, 768, 12, 4e-4),  # RN50x16
    "rn-5": (1024, 448, (3, 15, 36, 10), 4096, 1024, 16, 3.6e-4),  # RN50x64
}
# The same, with side of a patch, layers, width and heads of the image tower for blocks and features.
VITS = {
    "vit-1": (512, 224, (32, 12, 768, 12), 512, 8, 5e-4),  # ViT-B/32
    "vit-2": (512, 224, (16, 12, 768, 12), 512, 8, 5e-4),  # ViT-B/16
    "vit-3": (768, 224, (14, 24, 1024, 16), 768, 12, 4e-4),  # ViT-L/14
}
NAMES = [*RESNETS, *VITS]
TEXT_LENGTH = 7  # tokens of a caption of pictograms, computed in groups of similar length


def recipe(name: str) -> TrainConfig:
    return read_config(recipe_file(f"series/{name}"))


def test_the_recipes_differ_in_model_and_rate_only():
    def rest(name: str) -> dict[str, object]:
        found = recipe(name).model_dump(exclude={"name", "model"})
        del found["preprocess"]["size"], found["optim"]["lr"]
        return found

    assert all(rest(name) == rest("rn-1") for name in NAMES)


def table_of(name: str) -> list[str]:
    page = (Path(__file__).parents[3] / "docs" / "training-series.md").read_text(encoding="utf-8")
    return page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0].splitlines()[2:]


def test_the_tables_of_the_documentation_have_their_sizes_and_compute():
    eight = [row(recipe(name), f"`{name}`", f"{recipe(name).model.image_size}", 0) for name in NAMES]
    assert table_of("series") == eight
    widths = (8, 12, 16, 24, 32, 48, 64, 80)
    configs = [read_config(recipe_file("series/width"), of_width(width, None)["set"]) for width in widths]
    by_width = [
        row(config, f"{width}", f"{config.optim.lr:.2g}", 1)
        for width, config in zip(widths, configs, strict=True)
    ]
    assert table_of("widths") == by_width


def row(config: TrainConfig, name: str, second: str, digits: int) -> str:
    flops, size = training_flops(config, TEXT_LENGTH), model_size(meta_model(config.model))
    in_all = flops * config.run.steps * config.run.batch_size
    counts = (f"{size.n_image:,}", f"{size.n_text:,}")
    return f"| {' | '.join([name, second, *counts, f'{flops / 1e6:.{digits}f}', f'{in_all / 1e12:.1f}'])} |"


@pytest.mark.parametrize("name", ["rn-1", "vit-2", "width"])
def test_a_recipe_of_the_series_trains_on_larger_images(tmp_path, curves_undrawn, name):
    write_tiny_dataset(tmp_path / "data", n_icons=12, size=64)
    folders = ["--data", str(tmp_path / "data"), "--runs-dir", str(tmp_path / "runs")]
    short = ["run.steps=2", "run.batch_size=4", "run.validate_every=2", "run.best_by=['icons_top1']"]
    changes = [part for key in (*short, "data.mixture={icons=1.0}") for part in ("--set", key)]
    assert main(["train", f"series/{name}", *folders, *changes]) == 0
    assert (tmp_path / "runs" / f"series-{name}" / "best.safetensors").is_file()
