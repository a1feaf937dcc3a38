"""`diptych-train study` from a plan to its page, on runs of three steps."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import TrainConfig
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.errors import TrainingFailed
from diptych_training.evaluate import validation
from diptych_training.study import measure as measures
from diptych_training.study import runner as run_cells
from diptych_training.study.results import Result, all_results
from diptych_training.train import loop as loops
from diptych_training.train.train_run import train_run
from support.small_study import write_plan
from support.tiny_run import write_tiny_dataset

pytestmark = pytest.mark.usefixtures("curves_undrawn")


@pytest.fixture(scope="module", autouse=True)
def few_emoji() -> Iterator[None]:
    """A style is classified among 20 names, not 1,914: those take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "emoji_classes", lambda: emoji_classes()[:20])
        yield


@pytest.fixture(scope="module")
def home(few_emoji: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a plan, and the whole study run on it."""
    home = tmp_path_factory.mktemp("home")
    write_tiny_dataset(home / "data", n_icons=24)
    write_plan(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIPTYCH_CACHE", str(home / "cache"))
        assert main(arguments(home, home)) == 0
    return home


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


def arguments(home: Path, out: Path, *more: str) -> list[str]:
    folders = {"data": home / "data", "runs-dir": out / "runs", "results": out / "results"}
    given = [f"--{name}={path}" for name, path in (folders | {"page": out / "docs/study.md"}).items()]
    return ["study", f"--budget={home / 'plan.toml'}", *given, "--device=cpu", *more]


def results_in(out: Path) -> dict[str, Result]:
    return {f"{one.part}/{one.cell}": one for one in all_results(out / "results")}


def without_times(results: dict[str, Result]) -> dict[str, Result]:
    return {
        name: one.model_copy(update={"images_per_s": None, "measured_s": 0.0})
        for name, one in results.items()
    }


def test_every_cell_is_a_small_file_with_what_was_spent_and_found(home):
    results = results_in(home)
    objectives = ("clip", "bag-of-words", "virtex")
    assert set(results) == {
        *(f"efficiency/{name}-s0-{step:05}" for name in objectives for step in (1, 3)),
        "labels/clip-s0", "labels/static-softmax-s0",
        *(f"scaling/{name}-s0" for name in ("clip", "wide", "wider", "widest")),
    }  # fmt: skip
    last = results["efficiency/clip-s0-00003"]
    assert (last.images, last.seed) == (12, 0)
    assert set(last.scores) == {"new-style", "new-set"}
    assert last.scores["new-set"]["n"] <= 5
    assert last.flops == pytest.approx(3 * results["efficiency/clip-s0-00001"].flops)
    assert results["scaling/wide-s0"].flops > last.flops
    assert results["labels/clip-s0"].images_per_s is None  # the run was there: efficiency trained it
    assert all(file.stat().st_size < 4_000 for file in (home / "results").rglob("*.json"))


def test_the_softmax_knows_its_labels_and_no_other(home):
    softmax, language = (
        results_in(home)[f"labels/{name}-s0"].scores["new-set"] for name in ("static-softmax", "clip")
    )
    assert softmax["n_known"] == language["n_known"] == 6
    assert softmax["unknown"] == 0
    assert softmax["known"] == softmax["known_of_all"]
    assert language["known"] >= language["known_of_all"]


def test_the_page_has_all_parts_and_figures(home):
    page = (home / "docs/study.md").read_text()
    for name in ("budget", "claims", "efficiency", "scaling", "prompts", "labels"):
        assert f"<!-- {name} -->" in page
    assert "Not run yet" not in page
    assert "| 6 of 6" in page
    assert "Fitted on the 3 smaller models" in page
    figures = {file.name: file.stat().st_size for file in (home / "docs/figures").iterdir()}
    assert set(figures) == {f"study-{part}.png" for part in ("efficiency", "scaling", "prompts")}
    assert max(figures.values()) < 200_000


def test_finished_cells_are_kept_and_prose_stays(home, tmp_path, capsys, monkeypatch):
    page = home / "docs/study.md"
    page.write_text("# My study\n\n" + page.read_text() + "\nA last word.\n")
    before = {file: file.stat().st_mtime_ns for file in (home / "results").rglob("*.json")}
    capsys.readouterr()
    assert main(arguments(home, home)) == 0
    assert "] efficiency/" not in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert page.read_text().startswith("# My study\n\n<!-- budget -->")
    assert page.read_text().endswith("\nA last word.\n")


def test_the_plan_tells_what_is_left_and_runs_nothing(home, tmp_path, capsys):
    assert main(arguments(home, tmp_path, "--plan")) == 0
    rows = [line.split("|")[1:5] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in row] for row in rows[1:]] == [
        ["efficiency", "0", "6", "3"], ["labels", "0", "2", "2"], ["prompts", "0", "0", "0"],
        ["scaling", "0", "4", "4"],
    ]  # fmt: skip
    assert not (tmp_path / "docs").exists()
    assert main(arguments(home, home, "--plan", "--parts", "scaling")) == 0
    assert "| scaling    |        4 |    0 |" in capsys.readouterr().out


def interrupting(step: Callable[..., object], n: int) -> Callable[..., object]:
    """The function, with Ctrl-C pressed at its n-th call."""
    calls = list[int]()

    def call(*args: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == n:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args, **named)

    return call


def test_a_study_broken_off_in_training_and_measuring_continues_to_the_same_results(
    home, tmp_path, monkeypatch, capsys
):
    only = ("--parts", "efficiency")
    with monkeypatch.context() as patch:
        patch.setattr(loops, "copy_buffers", interrupting(loops.copy_buffers, 2))
        assert main(arguments(home, tmp_path, *only)) == 130
    assert "the same command continues" in capsys.readouterr().out
    assert set(results_in(tmp_path)) == {"efficiency/clip-s0-00001"}
    assert "1 of 6" in (tmp_path / "docs/study.md").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(measures, "class_scores", interrupting(measures.class_scores, 1))
        assert main(arguments(home, tmp_path, *only)) == 130
    assert len(results_in(tmp_path)) == 1
    assert main(arguments(home, tmp_path, *only)) == 0
    unbroken = {name: one for name, one in results_in(home).items() if one.part == "efficiency"}
    assert without_times(results_in(tmp_path)) == without_times(unbroken)


def test_a_checkpoint_that_a_run_has_passed_is_trained_again(home, tmp_path, capsys):
    only = ("--parts", "efficiency")
    assert main(arguments(home, tmp_path, *only)) == 0
    lost = tmp_path / "results/tiny-study/efficiency/virtex-s0-00001.json"
    scores = json.loads(lost.read_text())["scores"]
    lost.unlink()
    capsys.readouterr()
    assert main(arguments(home, tmp_path, *only)) == 0
    assert "is at step 3, beyond 1: trained again" in capsys.readouterr().out
    assert json.loads(lost.read_text())["scores"] == scores


def test_a_run_that_fails_does_not_stop_the_others(home, tmp_path, capsys, monkeypatch):
    def failing(config: TrainConfig, *args: object, **named: object) -> bool:
        if config.objective is not None and config.objective.kind == "bag_of_words":
            raise TrainingFailed("loss is not finite")
        return train_run(config, *args, **named)

    monkeypatch.setattr(run_cells, "train_run", failing)
    assert main(arguments(home, tmp_path, "--parts", "efficiency")) == 1
    said = capsys.readouterr().out
    assert said.count(" failed: loss is not finite") == 1  # its second checkpoint is not tried
    assert {one.variant for one in results_in(tmp_path).values()} == {"clip", "virtex"}


def test_an_unknown_part_is_named(home, tmp_path, capsys):
    assert main(arguments(home, tmp_path, "--parts", "efficiency,magic")) == 1
    assert "--parts efficiency,magic: 'magic' is not one of" in capsys.readouterr().err
