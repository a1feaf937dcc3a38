"""`diptych-train study` from a plan to its page, on runs of three steps."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.study import measure as measures
from diptych_training.study.prediction import Prediction
from diptych_training.study.results import Result, all_results
from diptych_training.train import loop as loops
from support.small_study import write_plan
from support.tiny_run import write_tiny_dataset

pytestmark = pytest.mark.usefixtures("curves_undrawn", "few_emoji", "cache")


@pytest.fixture(scope="module")
def home(few_emoji: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a plan, and the whole study run on it."""
    home = tmp_path_factory.mktemp("home")
    write_tiny_dataset(home / "data", n_icons=24)
    write_plan(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIPTYCH_CACHE", str(home / "cache"))
        assert main(arguments(home, home, "--predict")) == 0
        assert main(arguments(home, home)) == 0
    return home


SHORT = [f"efficiency/{name}-s0-00001" for name in ("clip", "bag-of-words", "virtex")]


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
    assert set(last.scores) == set(last.kinds) == {"new-style", "new-set"}
    assert last.scores["new-set"]["n"] <= 5
    assert last.flops == pytest.approx(3 * results["efficiency/clip-s0-00001"].flops)
    if (Path(__file__).parents[4] / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}(-changed)?", last.commit)
    assert last.text_length < 12  # as captions are, not as long as the context
    assert (last.objective, last.tower) == ("clip/1", "resnet")
    raw = {"top1", "top1_raw", "n"}
    assert set(results["efficiency/virtex-s0-00003"].scores["new-set"]) == raw
    figures = {"error", "n", "error_of_all", "nll_of_all", "nll_of_all_sd", "n_of_all"}
    assert set(results["scaling/wide-s0"].scores["new-set"]) == figures
    assert results["scaling/wide-s0"].flops > last.flops
    assert results["labels/clip-s0"].images_per_s is None  # the run was there: efficiency trained it
    assert all(file.stat().st_size < 4_000 for file in (home / "results").rglob("*.json"))


def test_the_page_has_all_parts_and_figures(home):
    page = (home / "docs/study.md").read_text()
    for name in ("budget", "claims", "efficiency", "scaling", "prompts", "labels"):
        assert f"<!-- {name} -->" in page
    assert page.count("Not run yet") == page.count("not in this plan") == 1  # prompts
    assert "| 6 of 6" in page
    assert "fitted on the 3 smaller models" in page
    figures = {file.name: file.stat().st_size for file in (home / "docs/figures").iterdir()}
    assert set(figures) == {f"study-{part}.png" for part in ("efficiency", "scaling")}
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


def test_larger_models_are_measured_after_their_prediction_alone(home, tmp_path, capsys):
    only = ("--parts", "scaling")
    shutil.copytree(home / "runs", tmp_path / "runs")  # trained, but not measured
    assert main(arguments(home, tmp_path, *only)) == 1
    assert "widest-s0 waits for a prediction: run the study with --predict first" in capsys.readouterr().out
    assert "scaling/widest-s0" not in results_in(tmp_path)
    assert main(arguments(home, tmp_path, "--predict")) == 0
    file = tmp_path / "results/tiny-study/prediction.json"
    written, said = file.read_bytes(), capsys.readouterr().out
    assert "prediction.json: commit it with the results" in said
    prediction = Prediction.model_validate_json(written)
    assert set(prediction.fitted) == {"clip-s0", "wide-s0", "wider-s0"}
    assert {one.model for law in prediction.laws for one in law.predicted} == {"widest"}
    assert main(arguments(home, tmp_path, *only)) == 0
    assert results_in(tmp_path)["scaling/widest-s0"].prediction == sha256(written).hexdigest()
    assert main(arguments(home, tmp_path, "--predict")) == 0
    assert file.read_bytes() == written


def test_a_prediction_is_not_replaced_once_larger_models_are_measured(home, tmp_path, capsys):
    shutil.copytree(home / "runs", tmp_path / "runs")
    shutil.copytree(home / "results", tmp_path / "results")
    file = tmp_path / "results/tiny-study/prediction.json"
    other = Prediction.model_validate_json(file.read_bytes()).model_copy(update={"laws": ()})
    file.write_text(other.model_dump_json())
    assert main(arguments(home, tmp_path, "--predict")) == 1
    assert f"{file}: written before widest-s0, and the results now predict" in capsys.readouterr().out
    assert Prediction.model_validate_json(file.read_bytes()) == other


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
        patch.setattr(loops, "copy_buffers", interrupting(loops.copy_buffers, 5))  # in the fourth run
        assert main(arguments(home, tmp_path, *only)) == 130
    assert "the same command continues" in capsys.readouterr().out
    assert set(results_in(tmp_path)) == set(SHORT)
    assert "3 of 6" in (tmp_path / "docs/study.md").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(measures, "top_k", interrupting(measures.top_k, 1))
        assert main(arguments(home, tmp_path, *only)) == 130
    assert len(results_in(tmp_path)) == 3
    assert main(arguments(home, tmp_path, *only)) == 0
    unbroken = {name: one for name, one in results_in(home).items() if one.part == "efficiency"}
    assert without_times(results_in(tmp_path)) == without_times(unbroken)
