"""Data sets by name and by folder: which pictures, classes, templates and metrics are found."""

from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.manifest import ImageSpec
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet
from diptych_training.evaluate.benchmark.data_sets.find import find_data_sets
from diptych_training.evaluate.benchmark.data_sets.known import all_known
from support.labelled_folders import CLASSES, TEMPLATES, write_class_folders, write_shards
from support.picture_sets import write_pictures
from support.pictures import noise, picture
from support.tiny_run import tiny_image_spec

RED, GREEN = picture("red"), picture("green")
PAPER = {  # of table 9 in Radford et al. 2021, those that are not scored by accuracy
    "fgvc_aircraft": "mean_per_class", "pets": "mean_per_class", "caltech101": "mean_per_class",
    "flowers102": "mean_per_class", "voc2007": "map_11_point", "kinetics700": "mean_top1_top5",
    "hateful_memes": "roc_auc",
}  # fmt: skip


def find(named: str | Path, packed: Path = Path("nowhere")) -> DataSet:
    (found,) = find_data_sets([str(named)], packed, "eval")
    return found


def pixels(found: DataSet, spec: ImageSpec) -> np.ndarray:
    return np.concatenate(list(found.test.pictures.batches(spec, 2)))


def test_folders_are_classes_and_their_names_are_read_as_words(tmp_path):
    write_class_folders(tmp_path / "mine", {"red_car": [RED], "green_car": [GREEN, GREEN]})

    found = find(tmp_path / "mine")

    assert (found.name, found.texts) == ("mine", ("green car", "red car"))
    assert found.test.labels.tolist() == [0, 0, 1]
    assert found.train is None


def test_pictures_are_prepared_as_the_server_does_and_one_by_one_alike(tmp_path):
    write_class_folders(tmp_path / "mine", {"a": [noise(1, (50, 30)), RED], "b": [noise(2, (20, 70))]})
    spec = tiny_image_spec()

    found = find(tmp_path / "mine")

    prepared = pixels(found, spec)
    assert prepared.shape == (3, spec.size, spec.size, 3)
    assert all(np.array_equal(found.test.pictures.prepared(n, spec), prepared[n]) for n in range(3))


def test_splits_above_the_classes_are_for_probes(tmp_path):
    for split, n in (("train", 4), ("val", 2), ("test", 3)):
        write_class_folders(tmp_path / "mine" / split, {"a": [RED] * n, "b": [GREEN] * n})

    found = find(tmp_path / "mine")

    assert [len(split.pictures) for split in found.splits() if split is not None] == [6, 8, 4]


def test_files_beside_the_folders_name_classes_and_templates(tmp_path):
    folder = write_class_folders(tmp_path / "mine", {"n01": [RED], "n02": [GREEN]})
    (folder / CLASSES).write_text("crimson\nlime\n")
    (folder / TEMPLATES).write_text("a photo of {c}.\nall of {}\n")

    found = find(folder)

    assert found.texts == ("crimson", "lime")
    assert found.templates == ("a photo of {}.", "all of {}")


def test_a_data_set_of_the_paper_has_its_class_names_templates_and_metric(tmp_path):
    folder = write_class_folders(tmp_path / "x", {"great_pyrenees": [RED], "American_Bulldog": [GREEN]})

    found = find(f"pets={folder}")

    assert found.name == "pets"
    assert found.texts == ("American Bulldog", "Great Pyrenees")
    assert found.metric == "mean_per_class"
    assert "a photo of a {}, a pet." in found.templates


def test_known_lists_are_complete_without_repetitions_and_with_places():
    for facts in all_known().values():
        assert len(set(facts.classes)) == len(facts.classes)
        assert not facts.classes or facts.n_classes == len(facts.classes)
        assert all("{}" in template for template in facts.templates)
    assert {name: facts.metric for name, facts in all_known().items() if facts.metric != "top1"} == PAPER


def test_shards_of_clip_benchmark_are_read_in_the_order_of_their_numbers(tmp_path):
    samples = [(picture((number, 0, 0)), number % 3) for number in range(40)]
    write_shards(tmp_path / "cb", {"test": samples, "train": samples[:5]}, ["x", "y", "z"], ["a {c}"])

    found = find(tmp_path / "cb")

    assert (found.task, found.metric, found.texts) == ("classification", "top1", ("x", "y", "z"))
    assert found.templates == ("a {}",)
    assert found.test.labels.tolist() == [number % 3 for number in range(40)]
    assert pixels(found, tiny_image_spec())[:, 16, 16, 0].tolist() == list(range(40))
    assert found.train is not None
    assert len(found.train.pictures) == 5


def test_rows_of_0_and_1_are_several_labels(tmp_path):
    folder = write_shards(tmp_path / "cb", {"test": [(RED, [1, 0, 1]), (GREEN, [0, 0, 0])]}, ["x", "y", "z"])

    found = find(f"voc2007={folder}")

    assert (found.task, found.metric) == ("multilabel", "map_11_point")
    assert found.test.relevance(3).tolist() == [[True, False, True], [False, False, False]]


def test_lines_of_a_text_are_captions_to_search(tmp_path):
    found = find(write_shards(tmp_path / "cb", {"test": [(RED, "red\nwarm"), (GREEN, "green")]}))

    assert found.task == "retrieval"
    assert found.texts == ("red", "warm", "green")
    assert found.test.right == ((0, 1), (2,))


def test_each_source_of_a_packed_data_set_is_one_and_shared_labels_are_pooled(tmp_path):
    things = [f"thing {number}" for number in range(4)]
    dataset = write_pictures(
        tmp_path / "packed", {f"style-{number}": ("eval", "emoji", things) for number in range(4)}
    )

    found = {one.name: one for one in find_data_sets(["pictograms"], dataset.path, "eval")}

    assert list(found) == ["style-0", "style-1", "style-2", "style-3", "emoji-pooled"]
    assert len(found["style-0"].texts) == 1914
    pool = found["emoji-pooled"]
    assert pool.texts == tuple(things)
    assert [len(split.pictures) for split in pool.splits() if split is not None] == [4, 8, 4]
    test = dataset.source("style-3").images
    assert np.array_equal(pool.test.pictures.prepared(2, tiny_image_spec()), test[2])


def test_content_changes_with_pixels_labels_and_templates(tmp_path):
    def content(name: str, colour: bytes = RED, second: str = "b", templates: str = "") -> str:
        folder = write_class_folders(tmp_path / name / "same", {"a": [colour], second: [GREEN]})
        (folder / TEMPLATES).write_text(templates)
        return find(folder).content

    first = content("first")
    assert content("second") == first
    assert (
        len({first, content("3", colour=GREEN), content("4", second="c"), content("5", templates="{}")}) == 4
    )


def test_a_known_name_without_a_folder_says_how_to_name_it():
    with pytest.raises(EvaluationError, match="cifar10=FOLDER"):
        find("cifar10")
