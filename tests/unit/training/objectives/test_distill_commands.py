"""A run with teachers: from the recipe to its folder, resuming, and its licence."""

import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import load_run, read_checkpoint
from diptych_training.cli import main
from diptych_training.config import TrainConfig, dump_config, read_config
from diptych_training.data.packed import read_dataset
from diptych_training.export.model_card.licence import recorded_licence
from diptych_training.models import CLIP
from diptych_training.provenance import collect_provenance
from diptych_training.run_folder import RunFolder
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.teachers import open_teachers
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer
from diptych_training.train.train_run import prepare
from support.small_recipe import small_recipe
from support.tiny_run import TINY_POOLED_VIT, TINY_VIT, VOCAB_SIZE, write_tiny_dataset, write_tiny_run

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji")

VALIDATION = {"emoji_top1": 0.1, "icons_top1": 0.2}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data set, the runs `first` and `second` as teachers, and a recipe with another width."""
    return make_home(tmp_path)


@pytest.fixture(scope="module")
def teacher_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the finished run `teacher_texts`, in a folder with leftovers of a failed run with more
    teachers.
    """
    home = make_home(tmp_path_factory.mktemp("home"))
    left = RunFolder(home / "runs" / "taught").teacher(2)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of an earlier beginning")
    assert train(home, "--set", "text.prompts.default=['a {}']") == 0  # prompts are the run's own
    return home


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with runs that are unsuitable as teachers of `teacher_texts`."""
    home = make_home(tmp_path_factory.mktemp("home"))
    write_tiny_run(home / "runs" / "siglip", image=TINY_POOLED_VIT)
    write_tiny_run(home / "runs" / "wide", image=TINY_VIT.model_copy(update={"patch_size": 16}))
    other = RunFolder(write_tiny_run(home / "runs" / "other"))
    write_tokenizer(train_tokenizer(["quite", "another", "tongue"], VOCAB_SIZE), other.tokenizer_file)
    return home


def make_home(path: Path) -> Path:
    write_tiny_dataset(path / "data", n_icons=6)
    write_tiny_run(path / "runs" / "first")
    write_tiny_run(path / "runs" / "second", image=TINY_VIT, seed=1)
    (path / "taught.toml").write_text(dump_config(taught_recipe()))
    return path


def taught_recipe(**run: object) -> TrainConfig:
    distill = {"teachers": ["first", "second"], "weight": 0.6}
    return small_recipe(name="taught", distill=distill, run={"steps": 6, **run})


def train(home: Path, *more: str) -> int:
    folders = ["--data", str(home / "data"), "--runs-dir", str(home / "runs")]
    return main(["train", str(home / "taught.toml"), *folders, "--model-repo", str(home / "models"), *more])


def test_a_run_stores_its_teachers_and_removes_older_ones(teacher_texts):
    folder = RunFolder(teacher_texts / "runs" / "taught")
    kept = sorted(path.name for path in folder.teacher(0).parent.iterdir())
    assert kept == ["0.safetensors", "1.safetensors"]
    for number, name in enumerate(("first", "second")):
        copy, original = read_checkpoint(folder.teacher(number)), load_run(teacher_texts / "runs" / name)
        assert copy.state["source"] == f"{name} (best, step 7)"
        assert copy.state["model"] == original.model_config.model_dump(mode="json")
        weights = copy.under("model.")
        assert all(torch.equal(t, weights[key]) for key, t in original.model.state_dict().items())


def test_the_log_has_both_parts_of_the_loss(teacher_texts):
    curves = read_metrics(teacher_texts / "runs" / "taught" / "metrics.csv")
    assert len(curves["loss"]) == 6
    for (_, loss), (_, contrastive), (_, distilled) in zip(
        curves["loss"], curves["loss/contrastive"], curves["loss/distill"], strict=True
    ):
        assert loss == pytest.approx(0.4 * contrastive + 0.6 * distilled, rel=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "teachers/1.safetensors is missing: the run folder is incomplete"),
        (["distill.weight=0.5"], "distill.weight is 0.6 in the run and 0.5 in the configuration"),
    ],
)
def test_a_run_does_not_resume_with_fewer_teachers_or_another_weight(
    teacher_texts, tmp_path, capsys, flags, message
):
    home = shutil.copytree(teacher_texts, tmp_path / "home")
    RunFolder(home / "runs" / "taught").teacher(1).unlink()
    prompts = ["--set", "text.prompts.default=['a {}']"]
    assert train(home, "--resume", *prompts, *(part for flag in flags for part in ("--set", flag))) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("run", [{}, {"precision": "bf16", "start_size": 16, "start_fraction": 0.5}])
def test_a_resumed_run_uses_its_stored_teachers_and_equals_an_unbroken_run(home, run):
    config, dataset = taught_recipe(**run), read_dataset(home / "data")

    def loop(name: str, *, resume: bool = False) -> Loop:
        made = prepare(
            config,
            dataset,
            home / "runs" / name,
            open_teachers=partial(open_teachers, config, home / "runs", home / "models"),
            resume=resume,
        )
        return replace(made, validate=lambda model: VALIDATION)

    def stop_here(model: CLIP) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return VALIDATION

    def finish(one: Loop) -> Series:
        assert one.train()
        one.log.close()
        curves = read_metrics(one.folder.metrics_file)
        return {metric: points for metric, points in curves.items() if metric != "images_per_s"}

    unbroken = finish(loop("unbroken"))
    broken = replace(loop("broken"), validate=stop_here)
    assert not broken.train()
    broken.log.close()
    for name in ("first", "second"):
        shutil.rmtree(home / "runs" / name)
    assert finish(loop("broken", resume=True)) == unbroken
    last = [read_checkpoint(RunFolder(home / "runs" / name).last) for name in ("unbroken", "broken")]
    assert all(torch.equal(tensor, last[1].tensors[name]) for name, tensor in last[0].tensors.items())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["distill.teachers=['first', 'nowhere']"], "distill.teachers: 'nowhere' is not a folder, a run in"),
        (["distill.teachers=['first', 'first']"], "must name each teacher once"),
        (
            ["loss='sigmoid'", "model.initial_bias=-10.0"],
            'loss is "sigmoid", but distill works with the "softmax" loss only',
        ),
        (
            ["text.clean='none'"],
            'distill.teachers: text.clean of first is "clip", in the recipe it is "none"',
        ),
        (
            ["text.context_length=10", "model.text.context_length=10"],
            "text.context_length of first is 12, in the recipe it is 10: they must be the same",
        ),
        (["model.text.vocab_size=700"], "model.text.vocab_size of first is 600, in the recipe it is 700"),
        (
            ["run.start_size=8", "run.start_fraction=0.5", "distill.teachers=['second', 'wide']"],
            "run.start_size 8 must be a multiple of the stride of wide, 16",
        ),
        (["distill.teachers=['first', 'other']"], "other has another tokenizer than another teacher"),
        (["distill.teachers=['siglip']"], 'siglip was trained with the sigmoid loss: only "softmax" gives'),
    ],
)
def test_an_unsuitable_teacher_is_named_before_anything_is_written(refusing, capsys, flags, message):
    assert train(refusing, *(part for flag in flags for part in ("--set", flag))) == 1
    assert message in capsys.readouterr().err
    assert not (refusing / "runs" / "taught").exists()


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [("MIT", "CC-BY-4.0", "CC-BY-4.0"), ("MIT", "MIT", "MIT"), ("MIT", None, "unknown")],
)
def test_the_licences_of_teachers_count_for_the_licence_of_the_run(teacher_texts, first, second, found):
    """The run's own data are MIT."""
    dataset, licences = read_dataset(teacher_texts / "data"), {"first": first, "second": second}
    for name, licence in licences.items():
        file = RunFolder(teacher_texts / "runs" / name).provenance_file
        file.unlink(missing_ok=True)
        if licence is not None:
            config = read_config(teacher_texts / "runs" / name / "config.toml")
            file.write_text(collect_provenance(dataset, config, {"begun with": licence}).model_dump_json())
    run = load_run(teacher_texts / "runs" / "taught")
    taught_by = open_teachers(run.config, teacher_texts / "runs", teacher_texts / "models")
    own = {name: teacher.licence for name, teacher in taught_by.items()}
    assert own == {name: licence or "unknown" for name, licence in licences.items()}
    licence = recorded_licence(collect_provenance(dataset, run.config, {}, own))
    assert licence.name == found
    assert ("none is recorded for `teacher second`" in licence.reason) == (second is None)
