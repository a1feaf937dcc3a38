"""`diptych-train benchmark` on runs and bundles: files, resuming, and the same numbers as `evaluate`."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from diptych_training.data.packed import read_dataset
from diptych_training.evaluate.benchmark.results import Result, result_file
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle, load_evaluated_run
from diptych_training.evaluate.measure import evaluate
from diptych_training.schema import find_record
from support.html_pages import Page
from support.labelled_folders import shades, write_class_folders, write_shards
from support.pictures import noise, picture
from support.tiny_bundle import write_tiny_bundle
from support.tiny_graphs import COLOURS as RGB
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


def test_wrong_answers_are_kept_with_the_class_that_was_preferred(home):
    write_class_folders(home / "colours", {"red": [picture("blue")], "blue": [picture("blue")]})

    main(["benchmark", "tiny", "--on", "colours"])

    (worst,) = result(home, "colours").confusions
    assert (worst.picture, worst.right, worst.given) == (1, "red", "blue")
    assert worst.probability > 0.5


def test_captions_are_searched_both_ways(home):
    write_shards(home / "captions", {"test": [(picture(name), name) for name in ("red", "blue", "green")]})

    main(["benchmark", "tiny", "--on", "captions"])

    found = result(home, "captions")
    assert found.zero_shot == {}
    assert found.retrieval is not None
    assert found.retrieval.text_to_image == {1: 1.0, 5: 1.0, 10: 1.0}


def test_several_labels_are_scored_by_precision(home):
    rows = [(picture("red"), [1, 0]), (picture("blue"), [0, 1]), (noise(0), [0, 0])]
    write_shards(home / "several", {"test": rows}, ["red", "blue"])

    main(["benchmark", "tiny", "--on", "several"])

    assert result(home, "several").score() == 1.0


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


def test_a_damaged_cache_is_made_again(home):
    colours(home / "colours")
    main(["benchmark", "tiny", "--on", "colours"])
    (stored,) = (home / "cache" / "features").rglob("*.npy")
    stored.write_bytes(b"damaged")

    main(["benchmark", "tiny", "--on", "colours", "--json", "other"])

    assert result(home, "colours", out="other") == result(home, "colours")


def test_a_sample_is_the_same_for_all_models_and_another_measurement(home):
    write_tiny_bundle(home / "model_repo", seed=1)
    write_class_folders(home / "many", {name: [picture(name)] * 7 for name in COLOURS})
    main(["benchmark", "tiny/1", "--on", "many"])
    assert result(home, "many").n_images == 21

    assert main(["benchmark", "tiny/1", "tiny/2", "--on", "many", "--pictures", "6"]) == 0

    one, other = result(home, "many"), result(home, "many", "tiny/2 (fp32)")
    assert (one.n_images, one.n_texts, other.n_images) == (6, 3, 6)
    assert one.content == other.content
    assert one.score() == 1.0


def test_templates_of_the_data_set_come_before_those_of_the_model(home):
    folder = colours(home / "colours")
    (folder / "templates.txt").write_text("a picture of {c}\n{c}\n")

    main(["benchmark", "tiny", "--on", "colours"])

    assert result(home, "colours").templates == ("a picture of {}", "{}")


def test_two_models_are_in_one_table(home, capsys):
    write_tiny_bundle(home / "model_repo", seed=1)
    colours(home / "colours")

    main(["benchmark", "tiny/1", "tiny/2", "--on", "colours"])

    text = (home / "benchmark" / "benchmark.md").read_text()
    assert "# tiny/1 (fp32)" in text
    assert "# tiny/2 (fp32)" in text
    assert text in capsys.readouterr().out


def test_a_model_that_is_neither_run_nor_bundle_is_named(home, capsys):
    assert main(["benchmark", "gone", "--on", str(colours(home / "colours"))]) == 1
    assert "gone is no run in" in capsys.readouterr().err


def test_without_a_model_the_command_says_what_to_name(capsys):
    assert main(["benchmark"]) == 1
    assert "name a model" in capsys.readouterr().err


def test_known_data_sets_are_listed_without_a_model(capsys):
    assert main(["benchmark", "--known"]) == 0
    assert "| voc2007 " in capsys.readouterr().out


def test_identities_are_those_of_precision_and_weights(home):
    repository = ModelRepository(home / "model_repo")
    one = load_evaluated_bundle(repository, "tiny", 1)
    runs = [
        load_evaluated_run(write_tiny_run(home / "runs" / name, seed=seed), "best").identity
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]

    assert runs[0] == runs[1]
    assert len({one.identity, *runs}) == 3


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


def test_without_a_validation_split_some_training_pictures_validate(home):
    for split, n in (("train", 10), ("test", 2)):
        write_class_folders(home / "mine" / split, {name: shades(RGB[name], n) for name in ("red", "blue")})

    main(["benchmark", "tiny", "--on", "mine", "--shots", "1"])

    found = result(home, "mine")
    assert found.probe is not None
    assert (found.probe.n_train, found.probe.n_validation) == (16, 4)
    assert {one.shots for one in found.few_shot} == {1}


def test_probes_can_be_left_out_and_are_made_when_asked_for(home):
    write_probed(home / "mine")

    main(["benchmark", "tiny", "--on", "mine", "--no-probes"])
    assert result(home, "mine").probe is None

    main(["benchmark", "tiny", "--on", "mine", "--shots", "1"])
    assert result(home, "mine").probe is not None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--shots", "1,x"], "--shots is 1,x"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--pictures", "0"], "--pictures is 0"),
    ],
)
def test_numbers_that_cannot_be_used_are_named(home, capsys, flags, told):
    assert main(["benchmark", "tiny", "--on", str(colours(home / "colours")), *flags]) == 1
    assert told in capsys.readouterr().err


def test_the_page_shows_the_pictures_that_were_taken_for_others(home):
    write_class_folders(home / "colours", {"red": [picture("blue")], "blue": [picture("blue")]})

    main(["benchmark", "tiny", "--on", "colours"])

    page = Page((home / "benchmark" / "benchmark.html").read_text())
    (source,) = page.attributes("img", "src")
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as shown:
        middle = shown.convert("RGB").getpixel((48, 48))
    assert np.abs(np.subtract(middle, RGB["blue"])).max() < 12
