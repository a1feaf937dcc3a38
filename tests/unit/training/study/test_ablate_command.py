"""`diptych-train ablate` from a plan to its table, on runs of a few steps."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import dump_config, read_config
from diptych_training.evaluate.validation import validate
from diptych_training.run_folder import RunFolder
from diptych_training.study.outcome import Ablation
from diptych_training.train import train_run
from diptych_training.train.metrics_log import read_metrics
from support.tiny_run import write_tiny_dataset, write_tiny_run

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji")

PLAN = """
name = "try"
base = "small.toml"
set = ["run.steps=2"]

[[variants]]
name = "fast"
group = "rate"
says = "twice the rate"
set = ["optim.lr=2e-3"]

[[variants]]
name = "wide"
group = "image tower"
says = "twice as wide, or | more"
set = ["model.image.width=32", "run.batch_size=8"]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a recipe, a plan over it, and `runs` with all of its variants finished."""
    home = tmp_path_factory.mktemp("home")
    write_tiny_dataset(home / "data", n_icons=12)
    tiny = write_tiny_run(home / "model") / "config.toml"
    changes = ["run.batch_size=4", "run.precision=fp32", "run.log_every=1", "data.mixture={icons = 1.0}"]
    (home / "small.toml").write_text(dump_config(read_config(tiny, changes)))
    (home / "plan.toml").write_text(PLAN)
    assert main(arguments(home, home / "runs")) == 0
    return home


@pytest.fixture
def runs(home: Path, tmp_path: Path) -> Path:
    """A copy of the finished runs that a test may change."""
    shutil.copytree(home / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def arguments(home: Path, runs: Path, *more: str) -> list[str]:
    folders = ["--data", str(home / "data"), "--runs-dir", str(runs)]
    return ["ablate", str(home / "plan.toml"), *folders, "--device", "cpu", *more]


def table_of(runs: Path) -> list[list[str]]:
    lines = (runs / "try" / "ablation.md").read_text().splitlines()
    return [[cell.strip() for cell in line.split(" | ")] for line in lines if line.startswith("| `")]


def ablation_in(runs: Path) -> Ablation:
    return Ablation.model_validate_json((runs / "try" / "ablation.json").read_bytes())


def begin(home: Path, runs: Path, variant: str, *overrides: str) -> None:
    """Start a variant by hand with `train --name`."""
    folders = ["--data", str(home / "data"), "--runs-dir", str(runs), "--name", f"try-{variant}"]
    sets = [f"--set={override}" for override in ("run.steps=2", *overrides)]
    assert main(["train", str(home / "small.toml"), *folders, *sets]) == 0


def test_every_variant_becomes_a_run_and_a_row_with_its_difference_to_the_base(home: Path) -> None:
    ablation = ablation_in(home / "runs")
    base, fast, wide = ablation.outcomes
    assert [outcome.run for outcome in ablation.outcomes] == ["try-base", "try-fast", "try-wide"]
    assert (base.n_samples, fast.n_samples, wide.n_samples) == (8, 8, 16)
    assert ablation.dataset == "tiny-drawings"
    last = {name: points[-1] for name, points in read_metrics(home / "runs/try-fast/metrics.csv").items()}
    assert fast.validation == {
        name: last[f"validation/{name}"][1]
        for name in ("emoji_top1", "emoji_top5", "icons_top1", "icons_top5")
    }
    assert base.n_image_parameters == fast.n_image_parameters < wide.n_image_parameters
    rows = table_of(home / "runs")
    assert rows[1][0] == "| `fast`"
    assert rows[2][2] == "twice as wide, or \\| more"
    change = 100 * (fast.validation["icons_top5"] - base.validation["icons_top5"])
    assert rows[1][7] == f"{fast.validation['icons_top5']:.3f} ({change:+.1f})"
    assert rows[0][7] == f"{base.validation['icons_top5']:.3f}"


def test_open_precision_is_fp32_on_a_processor_that_multiplies_in_bf16(home, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True})
    recipe = tmp_path / "small.toml"
    recipe.write_text((home / "small.toml").read_text().replace('precision = "fp32"\n', ""))
    (tmp_path / "plan.toml").write_text(PLAN)
    command_line = arguments(home, tmp_path / "runs", "--only", "base")
    command_line[1] = str(tmp_path / "plan.toml")
    assert main(command_line) == 0
    assert read_config(tmp_path / "runs/try-base/config.toml").run.precision == "fp32"


def test_an_unfinished_run_with_another_recipe_is_not_resumed(home, tmp_path, capsys) -> None:
    runs = tmp_path / "runs"
    begin(home, runs, "fast", "optim.lr=5e-3", "run.checkpoint_every=1")
    RunFolder(runs / "try-fast").last.unlink()  # killed after its validation, before its checkpoint
    assert main(arguments(home, runs)) == 1
    said = capsys.readouterr().err
    assert "try-fast is unfinished and has another recipe than try: optim.lr is 0.005 in the run" in said
    assert not (runs / "try-base").exists()


def test_an_interrupted_plan_exits_with_130_and_the_same_command_continues_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    runs, asked = tmp_path / "runs", list[str]()

    def validate_and_press(*args: object, **named: object) -> dict[str, float]:
        asked.append("validation")
        os.kill(os.getpid(), signal.SIGINT)
        return validate(*args, **named)

    (home / "long.toml").write_text(PLAN.replace("run.steps=2", 'run.steps=3", "run.validate_every=2'))
    command_line = arguments(home, runs)
    command_line[1] = str(home / "long.toml")
    with monkeypatch.context() as patch:
        patch.setattr(train_run, "validate", validate_and_press)
        assert main(command_line) == 130
    assert asked == ["validation"]
    assert [row[3] for row in table_of(runs)] == ["not finished: step 2 of 3", "not begun", "not begun"]
    capsys.readouterr()
    assert main(command_line) == 0
    assert (
        "[1/3] try-base: the variant that all others are compared with; resumes after step 2"
        in capsys.readouterr().out
    )
    assert {outcome.state for outcome in ablation_in(runs).outcomes} == {"finished"}
    assert list(dict(read_metrics(runs / "try-base/metrics.csv")["loss"])) == [1, 2, 3]


def test_an_error_in_any_recipe_is_reported_before_training_starts(
    home: Path, tmp_path: Path, capsys
) -> None:
    (home / "wrong.toml").write_text(PLAN.replace("optim.lr", "optim.rate"))
    command_line = arguments(home, tmp_path / "runs")
    command_line[1] = str(home / "wrong.toml")
    assert main(command_line) == 1
    assert "variant fast of plan try: " in (said := capsys.readouterr().err)
    assert "optim.rate: unknown key" in said
    assert not (tmp_path / "runs").exists()
