"""`diptych-train benchmark` on runs and bundles: files, resuming, and the same numbers as `evaluate`."""

import os
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.data.packed import read_dataset
from diptych_training.evaluate.benchmark.results import Result, result_file
from diptych_training.evaluate.evaluated_model import load_evaluated_run
from diptych_training.evaluate.measure import evaluate
from diptych_training.schema import find_record
from support.labelled_folders import shades, write_class_folders
from support.pictures import picture
from support.tiny_bundle import write_tiny_bundle
from support.tiny_run import TINY_VIT, write_tiny_dataset, write_tiny_run

COLOURS = ("red", "green", "blue")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle `tiny/1`, the run `drawn`, and folders of a cache of their own."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIPTYCH_MODEL_REPO", str(tmp_path / "model_repo"))
    monkeypatch.setenv("DIPTYCH_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    write_tiny_bundle(tmp_path / "model_repo")
    return tmp_path


def colours(folder: Path) -> Path:
    return write_class_folders(folder, {name: [picture(name)] for name in COLOURS})


def result(home: Path, data_set: str, model: str = "tiny/1 (fp32)", out: str = "benchmark/results") -> Result:
    found = find_record(result_file(home / out, model, data_set), Result)
    assert found is not None
    return found


def test_a_bundle_that_knows_colours_names_them_and_searches_nothing(home, capsys):
    colours(home / "colours")

    assert main(["benchmark", "tiny", "--on", "colours"]) == 0

    found = result(home, "colours")
    assert found.zero_shot["name"]["top1"] == 1.0
    assert found.confusions == ()
    assert found.retrieval is None
    assert "100.0" in capsys.readouterr().out
    assert (home / "benchmark" / "benchmark.md").read_text().startswith("# Benchmark of tiny/1 (fp32)\n")


def test_a_run_scores_on_packed_sources_what_evaluate_finds(home):
    data = write_tiny_dataset(home / "data", n_icons=30).path
    run = write_tiny_run(home / "runs" / "drawn", image=TINY_VIT)

    assert main(["benchmark", "drawn", "--data", str(data), "--on", "pictograms"]) == 0

    expected = evaluate(load_evaluated_run(run, "best"), read_dataset(data), "eval", lambda _: None)
    for source in expected.sources:
        found = result(home, source.source, expected.model)
        assert found.zero_shot["name"]["top1"] == pytest.approx(source.all.zero_shot[1], abs=1e-6)
        assert found.retrieval is not None
        assert found.retrieval.text_to_image == pytest.approx(source.all.text_to_image)
        assert found.retrieval.image_to_text == pytest.approx(source.all.image_to_text)


def test_results_that_are_there_are_kept_and_only_new_data_is_measured(home):
    colours(home / "colours")
    main(["benchmark", "tiny", "--on", "colours"])
    file = result_file(home / "benchmark" / "results", "tiny/1 (fp32)", "colours")
    os.utime(file, ns=(1, 1))

    colours(home / "more")
    main(["benchmark", "tiny", "--on", "colours", "--on", "more"])

    assert file.stat().st_mtime_ns == 1
    assert result(home, "more").n_images == len(COLOURS)


def test_other_pictures_and_other_weights_are_measured_again(home):
    folder = colours(home / "colours")
    main(["benchmark", "tiny/1", "--on", "colours"])
    first = result(home, "colours")

    (folder / "red" / "0.png").write_bytes(picture("blue"))
    main(["benchmark", "tiny/1", "--on", "colours"])
    assert result(home, "colours").zero_shot["name"]["top1"] < first.zero_shot["name"]["top1"]

    write_tiny_bundle(home / "model_repo", seed=1)
    main(["benchmark", "tiny", "--on", "colours"])
    assert result(home, "colours", "tiny/2 (fp32)").identity != first.identity


def write_probed(folder: Path) -> Path:
    """Nearly red and nearly green pictures under names that the model does not know."""
    for split, n in (("train", 4), ("val", 3), ("test", 5)):
        write_class_folders(
            folder / split,
            {"zig": shades((220, 20, 30), n, seed=n), "zag": shades((20, 170, 40), n, seed=n)},
        )
    return folder


def test_probes_learn_what_names_do_not_say(home):
    write_probed(home / "mine")

    main(["benchmark", "tiny", "--on", "mine", "--seeds", "2"])

    found = result(home, "mine")
    assert found.probe is not None
    assert found.probe.metrics["top1"] == 1.0
    assert (found.probe.n_train, found.probe.n_validation) == (8, 6)
    assert [(one.shots, one.seed) for one in found.few_shot] == [
        (k, seed) for k in (1, 2, 4) for seed in (0, 1)
    ]
