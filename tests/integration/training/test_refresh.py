"""`diptych-train refresh` from twenty-five pictures to a published version, and interrupted at each stage."""

import importlib
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.calibration import calibrated_identity, calibration_file, read_calibration
from diptych.bundle.repository import ModelRepository
from diptych_training.checkpoint import checkpoint_step
from diptych_training.cli import main
from diptych_training.refresh.evaluation.difference import paired_difference
from diptych_training.refresh.evaluation.evaluate import Loss
from diptych_training.refresh.example import draw_example
from diptych_training.refresh.measure import Measured, measure
from diptych_training.run_folder import RunFolder
from support.default_model import DEFAULT_MODEL

pytestmark = pytest.mark.usefixtures("few_emoji")

N_STEPS = 6
STAGES = (
    ("refresh", "prepare_pairs"), ("train", "write_recipe"), ("train", "train_run"), ("refresh", "measure"),
    ("refresh", "report_gains"), ("refresh", "publish"), ("refresh", "recalibrate"),
)  # fmt: skip
INSIDE = (
    ("train.loop", "write_checkpoint"),
    ("refresh.evaluation.evaluate", "write_stored"),
    ("refresh.report.report", "write_text"),
    ("train.interpolate.interpolation", "write_checkpoint"),
    ("export.publish", "write_golden"),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw_example(folder, 25, seed=1)
    return folder


@pytest.fixture
def command(tmp_path: Path, pictures: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A refresh of `tiny/1` by a few steps, in folders of the test."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(published, tmp_path / "repo")
    return command_line(tmp_path, pictures)


def command_line(home: Path, pictures: Path) -> list[str]:
    return [
        "refresh", str(pictures), "--from", "tiny", "--name", "mine", "--max-loss", "100",
        "--model-repo", str(home / "repo"), "--runs-dir", str(home / "runs"), "--hold-out", "0",
        "--set", f"run.steps={N_STEPS}", "--set", "run.checkpoint_every=2",
    ]  # fmt: skip


IN_FOLDS = ["--hold-out", "0.2", "--alpha", "0.5"]


def weights_of(home: Path, name: str = "mine", version: int = 1) -> str:
    folder = ModelRepository(home / "repo").folder(name, version)
    return sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def test_pictures_become_a_version_with_the_precisions_and_the_proof_set_of_the_old_one(
    command, tmp_path, capsys
):
    assert main([*command, *IN_FOLDS]) == 0

    repository = ModelRepository(tmp_path / "repo")
    old, new = repository.verify("tiny", 1), repository.verify("mine", 1)
    assert set(new.precisions) == set(old.precisions)
    assert new.files["proof_set.npz"] == old.files["proof_set.npz"]
    assert new.source["started_from"] == "tiny/1"
    assert new.source["interpolated"]["alpha"] == 0.5
    assert new.metrics["refresh"]["n_pairs"] == 25
    said = capsys.readouterr().out
    assert "25 pairs found, 25 usable" in said
    assert f"no data set at {tmp_path / 'cache' / 'pictograms'}: rehearses the 200 shipped pairs" in said
    assert "25 to train on, each held out in one of 5 folds" in " ".join(said.split())
    assert re.search(r"fold 5 of 5, rate \S+, about (1 minute|\d+ minutes) left to train", said)
    assert "Measured on pictures that the judging models had not seen" in said
    assert "validation not counted" in said
    assert " min to judge, and roughly " in said
    assert said.endswith(
        f"To start a server: diptych serve --model mine --model-repo "
        f"{tmp_path / 'repo'} --data-dir ~/.local/state/diptych-mine\n"
    )
    assert f"mine/1 is published: {repository.folder('mine', 1)}" in said
    assert said.index("Gained: your pictures: top-1 ") < said.index("| top-1")
    folder = tmp_path / "runs" / "refresh" / "mine-1"
    assert not list(folder.glob("mine-1-fold-*"))
    assert f"What changed, with pictures: {folder / 'report.html'}" in said
    assert "prove fp32" not in said
    assert "prove fp32" in (folder / "export.log").read_text()
    assert "check valve" in (folder / "report.html").read_text()

    calibration = read_calibration(calibration_file(repository.folder("mine", 1)), new)
    start = read_calibration(calibration_file(repository.folder("tiny", 1)), old)
    assert calibration.identity == calibrated_identity(new)
    assert calibration.bank.shape == start.bank.shape
    assert np.abs(calibration.bank - start.bank).max() > 0.001
    page = (folder / "report.md").read_text()
    assert "fitted again, on the shipped pairs, not on yours: the model has learned from all of them" in page
    assert " with the maps of tiny/1, and now: " in page
    for kind, title in (("text", "by words"), ("image", "by an image")):
        assert re.search(rf"{title} 0\.[0-9]+ and {calibration.maps[kind].error:.3f} ", page)


@pytest.mark.long
def test_a_finished_refresh_is_not_repeated_and_other_pictures_begin_another(
    command, tmp_path, pictures, capsys
):
    assert main(command) == 0
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "the same pairs, model and recipe were used before" in said
    assert "mine/1 is published: " in said.partition("were used before")[2]
    assert ModelRepository(tmp_path / "repo").versions("mine") == [1]

    more = tmp_path / "more"
    draw_example(more, 30, seed=2)
    others = [
        str(more) if word == str(pictures) else word for word in command if word not in ("--from", "tiny")
    ]
    for _ in range(2):  # the second time mine/2 is the newest version
        assert main(others) == 0
        assert "mine starts from mine/1" in capsys.readouterr().out
        assert ModelRepository(tmp_path / "repo").versions("mine") == [1, 2]


def test_more_lost_than_allowed_publishes_nothing_until_the_bound_or_the_weight_changes(
    command, tmp_path, capsys, monkeypatch
):
    stages = importlib.import_module("diptych_training.refresh.refresh")

    def lossy(*args: object) -> Measured:
        measured = measure(*args)
        lost = paired_difference([True] * 1000, [index >= 50 for index in range(1000)], range(1000))
        choice = replace(measured.choice, losses=(Loss("drawings", lost, 3.0),), max_loss=3.0)
        return replace(measured, choice=choice)

    with monkeypatch.context() as lost:
        lost.setattr(stages, "measure", lossy)
        assert main(command) == 1
    said = capsys.readouterr().err
    assert "drawings lose at most 6.4 points (95% interval, 1,000 pictures of 1,000 captions)" in said
    assert "at most 3 may be lost (--max-loss). Nothing is published: --alpha 0.25 loses" in said
    assert "mine" not in ModelRepository(tmp_path / "repo").names()

    monkeypatch.setattr("diptych_training.refresh.train.train_run", None)  # it is trained already
    assert main([*command, "--alpha", "0.25"]) == 0
    assert ModelRepository(tmp_path / "repo").manifest("mine", 1).source["interpolated"]["alpha"] == 0.25


def test_look_trains_nothing_and_the_recipe_it_leaves_may_be_edited(command, tmp_path, monkeypatch, capsys):
    assert main([*command, "--look"]) == 0
    recipe = tmp_path / "runs" / "refresh" / "mine-1" / "recipe.toml"
    assert not (recipe.parent / "mine-1").exists()
    recipe.write_text(recipe.read_text().replace("lr = 2e-4", "lr = 3e-4"))
    monkeypatch.setattr("diptych_training.refresh.refresh.measure", Interrupted(measure, before=True))
    assert main(command) == 130  # behind the training
    assert "lr = 0.0003" in (recipe.parent / "mine-1" / "config.toml").read_text()
    assert "lr = 3e-4" in recipe.read_text()
    assert str(recipe) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--name", DEFAULT_MODEL], "choose another one"),
        (["--name", "no name"], "model name 'no name' must match"),
        (["--from", "tiny/x"], "--from tiny/x: must be NAME or NAME/VERSION"),
        (["--from", "nothing"], "no model named 'nothing'"),
        (["--recipe", "nowhere.toml"], "nowhere.toml"),
        (["--set", "optim.speed=1"], "optim.speed: unknown key"),
        (["--push"], "--push needs the URL of a server, unless --collection names one"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(command, tmp_path, capsys, change, said):
    assert main([*command, *change]) == 1
    assert said in capsys.readouterr().err
    assert ModelRepository(tmp_path / "repo").names() == ["tiny"]


class Interrupted:
    """Calls a function, but raises KeyboardInterrupt in place of one call, or right after it."""

    def __init__(self, call: Callable[..., object], *, before: bool) -> None:
        self._call, self._before, self._is_armed = call, before, True

    def __call__(self, *args: object, **kwargs: object) -> object:
        if self._is_armed and self._before:
            self._is_armed = False
            raise KeyboardInterrupt
        result = self._call(*args, **kwargs)
        if self._is_armed:
            self._is_armed = False
            raise KeyboardInterrupt
        return result


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pictures: Path, published: Path) -> str:
    """The digest of the weights that a refresh without interruptions publishes."""
    home = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DIPTYCH_CACHE", str(home / "cache"))
        shutil.copytree(published, home / "repo")
        assert main(command_line(home, pictures)) == 0
    return weights_of(home)


def test_sigterm_while_it_judges_says_that_the_same_command_continues_and_it_does(
    command, tmp_path, monkeypatch, capsys
):
    module = importlib.import_module("diptych_training.refresh.evaluation.evaluate")
    with monkeypatch.context() as terminated:

        def terminate(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)  # a signal is handled between two steps of Python

        terminated.setattr(module, "score_set", terminate)
        assert main(command) == 130
    assert capsys.readouterr().out.endswith("interrupted: the same command continues\n")

    monkeypatch.setattr("diptych_training.refresh.train.train_run", None)  # it is trained already
    assert main(command) == 0
    assert ModelRepository(tmp_path / "repo").versions("mine") == [1]


@pytest.mark.long
def test_interrupted_after_each_stage_it_comes_to_the_same_weights(
    command, tmp_path, monkeypatch, undisturbed
):
    for name, stage in STAGES:
        module = importlib.import_module(f"diptych_training.refresh.{name}")
        monkeypatch.setattr(module, stage, Interrupted(getattr(module, stage), before=False))
        assert main(command) == 130
    assert main(command) == 0
    assert ModelRepository(tmp_path / "repo").versions("mine") == [1]
    assert weights_of(tmp_path) == undisturbed


@pytest.mark.long
def test_interrupted_within_each_stage_it_comes_to_the_same_weights(
    command, tmp_path, monkeypatch, undisturbed
):
    for name, function in INSIDE:
        module = importlib.import_module(f"diptych_training.{name}")
        monkeypatch.setattr(module, function, Interrupted(getattr(module, function), before=True))
        assert main(command) == 130
    assert main(command) == 0
    assert weights_of(tmp_path) == undisturbed


def test_interrupted_in_a_fold_it_goes_on_there(command, tmp_path, monkeypatch, capsys):
    folds = importlib.import_module("diptych_training.refresh.folds")
    train_run, trained = folds.train_run, list[str]()

    def counted(*args: object, **options: object) -> object:
        trained.append(Path(str(args[2])).name)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return train_run(*args, **options)

    monkeypatch.setattr(folds, "train_run", counted)
    monkeypatch.setattr("diptych_training.refresh.refresh.publish", Interrupted(measure, before=True))
    assert main([*command, *IN_FOLDS]) == 130
    assert main([*command, *IN_FOLDS]) == 130
    assert "fold 2 of 5" in capsys.readouterr().out.partition("the same command continues")[2]
    assert [name[:13] for name in trained] == [
        "mine-1-fold-1", "mine-1-fold-1", "mine-1-fold-2", "mine-1-fold-2", "mine-1-fold-2",
        "mine-1-fold-3", "mine-1-fold-4", "mine-1-fold-5",
    ]  # fmt: skip


def test_other_steps_are_trained_if_those_of_the_folds_lose_too_much(command, tmp_path, monkeypatch, capsys):
    lose_too_much = iter([True, False, False])
    stages = importlib.import_module("diptych_training.refresh.refresh")
    monkeypatch.setattr(stages, "is_bound_alone", lambda *_: next(lose_too_much))
    monkeypatch.setattr(stages, "publish", Interrupted(measure, before=True))

    command += [*IN_FOLDS, "--set", "run.steps=2"]
    assert main(command) == 130
    first, second = re.findall(r"the folds chose (\d+) steps", capsys.readouterr().out)
    assert first != second

    monkeypatch.setattr(stages, "publish", Interrupted(measure, before=True))
    monkeypatch.setattr("diptych_training.refresh.train.train_run", None)  # it is trained already
    assert main(command) == 130
    assert f"the folds chose {second} steps" in capsys.readouterr().out
    run = RunFolder(tmp_path / "runs" / "refresh" / "mine-1" / "mine-1")
    assert checkpoint_step(run.last) == int(second)


@pytest.mark.long
def test_nothing_is_published_if_the_old_model_is_the_best(command, tmp_path, capsys, monkeypatch):
    def useless(*args: object) -> Measured:
        measured = measure(*args)
        return replace(measured, choice=replace(measured.choice, alpha=0.0))

    monkeypatch.setattr("diptych_training.refresh.refresh.measure", useless)
    assert main(command) == 1
    assert "no mix names more held-out pictures right than tiny/1" in capsys.readouterr().err
    assert ModelRepository(tmp_path / "repo").names() == ["tiny"]
