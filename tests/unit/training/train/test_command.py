"""`diptych-train train` from the command line to the run folder."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import dump_config, read_config
from diptych_training.data.packed import read_dataset, write_index
from diptych_training.export.run_export import RunExport
from diptych_training.run_folder import RunFolder
from diptych_training.train import command, loop
from diptych_training.train.distributed.interrupt import Interrupt
from support.default_model import DEFAULT_MODEL
from support.pair_files import pair_files, write_files
from support.tiny_run import write_tiny_dataset, write_tiny_run

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A small recipe, its data and its folder for runs."""
    return make_arguments(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders in which the run `small` has finished."""
    folder = tmp_path_factory.mktemp("once")
    assert main(make_arguments(folder)) == 0
    return folder


@pytest.fixture
def trained(finished: Path, tmp_path: Path) -> list[str]:
    """The same command again, on copies of these folders."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return arguments_in(tmp_path)


def make_arguments(tmp_path: Path) -> list[str]:
    write_tiny_dataset(tmp_path / "data", n_icons=12)
    small = read_config(
        write_tiny_run(tmp_path / "model") / "config.toml",
        [
            "name=small",
            "run.steps=2",
            "run.batch_size=4",
            "optim.warmup_steps=1",
            "run.precision=fp32",
            "data.mixture={icons = 1.0}",
        ],
    )
    (tmp_path / "small.toml").write_text(dump_config(small))
    return arguments_in(tmp_path)


def arguments_in(tmp_path: Path) -> list[str]:
    folders = ["--data", str(tmp_path / "data"), "--runs-dir", str(tmp_path / "runs")]
    return ["train", str(tmp_path / "small.toml"), *folders]


def test_training_states_its_cost_first_and_leaves_a_whole_run_folder(arguments, tmp_path, capsys):
    assert main([*arguments, "--name", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "parameters" in printed
    assert "GFLOPs an image" in printed
    assert "images/s" in printed
    assert "MiB of memory" in printed
    assert {path.name for path in (tmp_path / "runs" / "mine").iterdir()} == {
        "best.safetensors", "checkpoints", "config.toml", "curves.png", "learned_from.json", "metrics.csv",
        "model.json", "preprocess.json", "tensorboard", "text.json", "tokenizer.json",
    }  # fmt: skip


def test_a_run_on_few_pictures_is_published_with_the_proof_set_of_the_default_model(
    arguments, tmp_path, published, capsys
):
    default = tmp_path / "repo" / DEFAULT_MODEL / "1" / "proof_set.npz"
    default.parent.mkdir(parents=True)
    default.write_bytes(b"")
    default.with_name("manifest.json").write_text("{}")
    assert main([*arguments, "--publish", "mine", "--model-repo", str(tmp_path / "repo")]) == 0
    assert published == [RunExport(tmp_path / "runs" / "small", "mine")]
    assert "too few samples" not in capsys.readouterr().err


class Stopped(Interrupt):
    """A signal came before the first step."""

    def __enter__(self) -> Interrupt:
        self.requested = True
        return super().__enter__()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[RunExport]:
    """What each training publishes; nothing is exported."""
    found: list[RunExport] = []

    def publish_run(wanted: RunExport, model_repo: Path, report: object) -> int:
        found.append(wanted)
        (model_repo / wanted.name / "1").mkdir(parents=True)
        (model_repo / wanted.name / "1" / "manifest.json").write_text("{}")
        return 1

    monkeypatch.setattr(command, "publish_run", publish_run)
    return found


def test_a_finished_run_is_published_with_its_data_or_the_proof_set_of_its_start_as_proof(
    arguments, tmp_path, published
):
    write_tiny_dataset(tmp_path / "data")
    assert main([*arguments, "--publish", "mine", "--model-repo", str(tmp_path / "repo")]) == 0
    assert published == [RunExport(tmp_path / "runs" / "small", "mine", data=tmp_path / "data")]
    RunFolder(tmp_path / "runs" / "small").proof_set_file.write_bytes(b"")
    again = [*arguments, "--resume", "--publish", "mine", "--model-repo", str(tmp_path / "other")]
    assert main(again) == 0  # nothing is left to train
    assert published[1] == RunExport(tmp_path / "runs" / "small", "mine")


def test_a_published_run_is_pushed_to_a_server_that_was_asked_before(
    arguments, tmp_path, published, monkeypatch
):
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(command, "require_server", lambda name, url, key: told.append(("ask", name, url)))
    monkeypatch.setattr(command, "push_and_report", lambda folder, url: told.append((folder.name, url)))
    write_tiny_dataset(tmp_path / "data")
    places = ["--model-repo", str(tmp_path / "repo"), "--push", "http://far"]
    assert main([*arguments, *places]) == 1
    assert not told  # --publish is missing
    assert main([*arguments, *places, "--publish", "mine"]) == 0
    assert told == [("ask", "mine", "http://far"), ("1", "http://far")]


def test_a_stopped_run_is_not_published(arguments, tmp_path, published, monkeypatch):
    write_tiny_dataset(tmp_path / "data")
    monkeypatch.setattr(loop, "Interrupt", Stopped)
    stopped = [*arguments, "--publish", "mine", "--model-repo", str(tmp_path / "repo")]
    assert main(stopped) == command.INTERRUPTED
    assert not published


def test_what_could_not_be_published_is_refused_before_the_first_step(arguments, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for name, repository, reason in (
        ("No Name", "repo", "--publish: model name 'No Name' must match"),
        (DEFAULT_MODEL, "repo", f"--publish {DEFAULT_MODEL}: the name is kept for the default model"),
        ("mine", "file", "file: must be a folder, this is a file"),
        ("mine", "repo", "--publish: " + str(tmp_path / "data") + " has too few samples to prove an export"),
    ):
        assert main([*arguments, "--publish", name, "--model-repo", str(tmp_path / repository)]) == 1
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_stopped_before_it_is_validated_says_so(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "Interrupt", Stopped)
    assert main(arguments) == command.INTERRUPTED
    assert "stopped at step 0; not validated yet; continue with --resume\n" in capsys.readouterr().out
    of_run = ["--run", "small", "--runs-dir", str(tmp_path / "runs"), "--data", str(tmp_path / "data")]
    for command_of in (["evaluate"], ["export", "--name", "x", "--model-repo", str(tmp_path / "repo")]):
        assert main([*command_of, *of_run]) == 1
        said = "runs/small: not validated yet; continue with --resume, or name --which last\n"
        assert capsys.readouterr().err.endswith(said)
    monkeypatch.setattr(loop, "Interrupt", Interrupt)
    assert main([*arguments, "--resume"]) == 0
    assert "finished at step 2; best " in capsys.readouterr().out


def test_a_checkpoint_of_another_model_names_file_and_first_weight(trained, tmp_path, capsys):
    assert main([*trained, "--name", "wide", "--set", "model.embed_dim=32"]) == 0
    small, wide = (RunFolder(tmp_path / "runs" / name) for name in ("small", "wide"))
    capsys.readouterr()
    shutil.copy(wide.last, small.last)
    assert main([*trained, "--resume"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"diptych-train: {small.last} is not of this run: text_projection is (32, 32) in the"
    )
    assert "(32, 16) in the model (and 2 more do not fit)" in said
    shutil.copy(wide.best, small.best)
    evaluate = ["evaluate", "--run", str(small.path), "--data", str(tmp_path / "data")]
    assert main(evaluate) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert (
        "do not fit model.json: text_projection is (32, 32) in the checkpoint, (32, 16) in the model" in said
    )


def packed_again(tmp_path: Path, numbers: range, hold_out: float = 0.25) -> None:
    shutil.rmtree(tmp_path / "photos", ignore_errors=True)
    write_files(tmp_path / "photos", pair_files(numbers))
    given = ["--train", str(tmp_path / "photos"), "--hold-out", str(hold_out), "--size", "32"]
    assert main(["data", "pack", *given, "--out", str(tmp_path / "packed")]) == 0


@pytest.fixture
def own_pairs(arguments: list[str], tmp_path: Path) -> list[str]:
    """A finished run on pairs whose data set can be packed again."""
    packed_again(tmp_path, range(40))
    kinds = ["--set", "data.mixture={pairs = 1.0}", "--set", "run.best_by=['pairs_top1']"]
    command = [*arguments, "--data", str(tmp_path / "packed"), *kinds]
    assert main(command) == 0
    return [*command, "--resume"]


@pytest.mark.parametrize(("numbers", "hold_out"), [(range(40), 0.5), (range(20, 60), 0.25)])
def test_a_run_does_not_resume_on_a_data_set_with_other_content(
    own_pairs, tmp_path, capsys, numbers, hold_out
):
    packed_again(tmp_path, range(40))
    assert main(own_pairs) == 0
    packed_again(tmp_path, numbers, hold_out)
    capsys.readouterr()
    assert main(own_pairs) == 1
    said = f"pairs-train of {tmp_path / 'packed'} is not what the run began with"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("best_by", "split", "message"),
    [
        ("['photos_top1']", "validation", "gives emoji_top1, emoji_top5, icons_top1, icons_top5"),
        ("['icons_top1']", "eval", "gives nothing: it has no validation source"),
    ],
)
def test_a_best_by_metric_that_validation_lacks_is_refused(
    arguments, tmp_path, capsys, best_by, split, message
):
    dataset = read_dataset(tmp_path / "data")
    without = {name: entry for name, entry in dataset.entries.items() if entry.split in ("train", split)}
    write_index(replace(dataset, entries=without))
    assert main([*arguments, "--set", f"run.best_by={best_by}"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs" / "small").exists()
