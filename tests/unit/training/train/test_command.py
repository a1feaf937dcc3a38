"""`diptych-train train` from the command line to the run folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import dump_config, read_config
from diptych_training.data.packed import read_dataset, write_index
from diptych_training.errors import DataError
from diptych_training.export.run_export import RunExport
from diptych_training.files import exclusive_lock
from diptych_training.paths import CONFIGS
from diptych_training.run_folder import RunFolder
from diptych_training.train import command, loop
from diptych_training.train.distributed.interrupt import Interrupt
from diptych_training.train.loop import Loop
from support.default_model import DEFAULT_MODEL
from support.pair_files import pair_files, write_files
from support.tiny_run import write_tiny_dataset, write_tiny_run

pytestmark = pytest.mark.usefixtures("curves_undrawn")


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


def test_training_warns_before_its_first_step_if_an_export_will_lack_samples(
    arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Loop, "train", lambda *_: pytest.fail(capsys.readouterr().err))
    with pytest.raises(
        pytest.fail.Exception, match="44 held-out images with 22 texts, at least 1,000 and 100"
    ):
        main([*arguments, "--model-repo", str(tmp_path / "empty")])


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


def test_training_with_enough_held_out_data_prints_no_warning(arguments, tmp_path, capsys):
    write_tiny_dataset(tmp_path / "data")
    assert main(arguments) == 0
    assert "warning" not in capsys.readouterr().err


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


def test_a_finished_run_is_published_with_its_data_as_proof(arguments, tmp_path, published):
    write_tiny_dataset(tmp_path / "data")
    assert main([*arguments, "--publish", "mine", "--model-repo", str(tmp_path / "repo")]) == 0
    assert published == [RunExport(tmp_path / "runs" / "small", "mine", data=tmp_path / "data")]


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


def test_a_run_with_the_proof_set_of_its_start_is_proven_on_that(trained, tmp_path, published):
    RunFolder(tmp_path / "runs" / "small").proof_set_file.write_bytes(b"")
    again = [*trained, "--resume", "--publish", "mine", "--model-repo", str(tmp_path / "repo")]
    assert main(again) == 0  # nothing is left to train
    assert published == [RunExport(tmp_path / "runs" / "small", "mine")]


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


def test_an_error_in_a_recipe_is_one_line_with_the_key(arguments, capsys):
    assert main([*arguments, "--set", "run.stepz=2"]) == 1
    assert "run.stepz: unknown key" in capsys.readouterr().err


def test_a_refused_recipe_leaves_the_name_free(arguments):
    assert main([*arguments, "--set", "data.source_weights={nowhere = 1.0}"]) == 1
    assert main(arguments) == 0


def test_a_run_with_a_checkpoint_is_not_overwritten(trained, capsys):
    assert main(trained) == 1
    assert "--resume" in capsys.readouterr().err


def test_a_folder_in_which_another_process_trains_is_refused(arguments, tmp_path, capsys):
    with exclusive_lock(tmp_path / "runs" / ".small.lock", DataError("not free")):
        assert main(arguments) == 1
    assert f"another process is training in {tmp_path / 'runs' / 'small'}" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_one_line(arguments, capsys):
    assert main([*arguments, "--device", "abacus"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("diptych-train: --device abacus: ")
    assert said.endswith("; it must be auto, cpu, cuda or cuda:N\n")


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


def test_progress_in_a_log_is_written_as_lines(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "\r" not in said
    assert "2/2 steps" in said.splitlines()[-1]
    assert all(line.strip() for line in said.splitlines())


def test_a_name_means_a_run_in_runs_dir_and_a_path_a_folder(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()  # no run, and in the way of none
    where = ["--data", str(tmp_path / "data"), "--runs-dir", str(tmp_path / "runs")]
    evaluate = ["evaluate", *where, "--split", "validation", "--no-floors"]
    assert main([*evaluate, "--run", "small"]) == 0
    assert (tmp_path / "runs" / "small" / "evaluation-validation" / "evaluation.json").is_file()
    assert main([*evaluate, "--run", "./small"]) == 1
    assert main([*evaluate, "--run", "other"]) == 1
    assert (
        "runs/other: no such run, there are: small; a folder is named by a path, as in ./other"
        in capsys.readouterr().err
    )
    export = ["export", *where, "--run", "other", "--name", "x", "--model-repo", str(tmp_path / "repo")]
    assert main(export) == 1
    assert "runs/other: no such run" in capsys.readouterr().err


def test_a_padding_above_the_end_of_text_is_refused(arguments, tmp_path, capsys):
    assert main([*arguments, "--set", "text.pad_id=599"]) == 1
    assert "text.pad_id is 599, it must be at most" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "small").exists()


def test_a_runs_dir_that_is_a_file_is_one_line(arguments, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([*arguments, "--runs-dir", str(tmp_path / "file")]) == 1
    said = f"--runs-dir {tmp_path / 'file'} is a file: it must be a folder"
    assert capsys.readouterr().err == f"diptych-train: {said}\n"


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


def test_a_run_folder_without_its_tokenizer_is_incomplete(trained, tmp_path, capsys):
    tokenizer = RunFolder(tmp_path / "runs" / "small").tokenizer_file
    tokenizer.unlink()
    assert main([*trained, "--resume"]) == 1
    said = f"diptych-train: {tokenizer} is missing: the run folder is incomplete\n"
    assert capsys.readouterr().err == said


def test_a_resumed_run_names_the_first_key_that_differs(trained, capsys):
    vit = "model.image={kind='vit', patch_size=8, width=32, layers=2, heads=2}"
    for change, said in (
        ("seed=9", "seed is 0 in the run and 9 in the configuration: use another --name"),
        (vit, 'model.image.kind is "resnet" in the run and "vit" in the configuration'),
        ("run.ema_decay=0.9", "run.ema_decay is nothing in the run and 0.9 in the configuration"),
    ):
        capsys.readouterr()
        assert main([*trained, "--resume", "--set", change]) == 1
        assert said in capsys.readouterr().err


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


def test_a_run_without_hashes_of_its_data_resumes(own_pairs, tmp_path):
    learned = RunFolder(tmp_path / "runs" / "small").provenance_file
    record = json.loads(learned.read_text())
    for entry in record["own"]["entries"].values():
        entry["recipe"] = ""
    packed_again(tmp_path, range(20, 60))
    learned.write_text(json.dumps(record))
    assert main(own_pairs) == 0
    learned.unlink()
    assert main(own_pairs) == 0


def test_a_run_does_not_resume_after_its_rehearsed_data_changed(arguments, tmp_path, capsys):
    packed_again(tmp_path, range(40))
    old = f"data.rehearsal.old={{data = '{tmp_path / 'packed'}', share = 0.5}}"
    assert main([*arguments, "--set", old]) == 0
    packed_again(tmp_path, range(20, 60))
    assert main([*arguments, "--set", old, "--resume"]) == 1
    assert f"pairs-train of {tmp_path / 'packed'} is not what" in capsys.readouterr().err


def test_ctrl_c_prints_no_traceback(arguments, monkeypatch, capsys):
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "read_dataset", interrupted)
    assert main(arguments) == 130
    assert capsys.readouterr().err == "diptych-train: interrupted\n"


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


def test_an_unfinished_data_set_is_refused(arguments, tmp_path, capsys):
    write_index(replace(read_dataset(tmp_path / "data"), name="pictograms"))
    assert main(arguments) == 1
    assert "`diptych-train data pictograms` continues the build" in capsys.readouterr().err


def test_a_missing_data_set_is_one_line(arguments, tmp_path, capsys):
    assert main([*arguments, "--data", str(tmp_path / "nowhere")]) == 1
    assert "no data set in" in capsys.readouterr().err


def test_shipped_recipes_are_found_by_name(tmp_path, capsys):
    assert (CONFIGS / "pictograms.toml").is_file()
    assert main(["train", "pictograms", "--data", str(tmp_path)]) == 1  # the recipe is found, the data is not
    assert "no data set in" in capsys.readouterr().err


def test_a_missing_recipe_lists_the_shipped_recipes(capsys):
    assert main(["train", "own-pair"]) == 1
    said = (
        "own-pair: no such recipe; shipped recipes: everyday, finetune, own-pairs, pictograms, series/rn-1, "
    )
    assert said in capsys.readouterr().err


def test_a_missing_model_repository_is_named_with_its_flag(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIPTYCH_MODEL_REPO", raising=False)
    for command_of in (
        ["train", "own-pairs", *arguments[2:]],
        ["evaluate", *arguments[2:4], "--bundle", "x"],
    ):
        assert main(command_of) == 1
        said = "model_repo does not exist: --model-repo or DIPTYCH_MODEL_REPO names the model repository"
        assert said in capsys.readouterr().err
