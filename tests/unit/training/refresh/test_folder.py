"""The folder of a refresh: the same request continues, another one begins a new refresh."""

from pathlib import Path

import pytest

from diptych_training.errors import TrainingConfigError
from diptych_training.refresh.folder import Published, Request, open_folder

REQUEST = Request(model="pictograms/5", pairs="abc")


def test_the_same_request_continues_in_its_folder(tmp_path):
    first = open_folder(tmp_path, "mine", REQUEST)
    again = open_folder(tmp_path, "mine", REQUEST)
    assert first == again
    assert first.path == tmp_path / "mine-1"
    assert first.run.path == tmp_path / "mine-1" / "mine-1"


def test_other_pairs_begin_a_refresh_with_the_next_number(tmp_path):
    open_folder(tmp_path, "mine", REQUEST)
    other = open_folder(tmp_path, "mine", REQUEST.model_copy(update={"pairs": "other"}))
    assert (other.name, other.number) == ("mine-2", 2)


def test_an_older_refresh_with_the_same_request_continues(tmp_path):
    open_folder(tmp_path, "mine", REQUEST)
    open_folder(tmp_path, "mine", REQUEST.model_copy(update={"pairs": "other"}))
    assert open_folder(tmp_path, "mine", REQUEST).name == "mine-1"


def test_a_finished_refresh_is_returned_unless_it_is_wanted_again(tmp_path):
    published = Published(name="mine", version=3, alpha=0.5)
    open_folder(tmp_path, "mine", REQUEST).set_published(published)
    assert open_folder(tmp_path, "mine", REQUEST).published() == published
    again = open_folder(tmp_path, "mine", REQUEST, again=True)
    assert again.name == "mine-2"
    assert again.published() is None


def test_an_interrupted_refresh_continues_though_it_is_wanted_again(tmp_path):
    open_folder(tmp_path, "mine", REQUEST)
    assert open_folder(tmp_path, "mine", REQUEST, again=True).name == "mine-1"


def test_models_whose_names_begin_alike_have_folders_of_their_own(tmp_path):
    open_folder(tmp_path, "mine-x", REQUEST)
    assert open_folder(tmp_path, "mine", REQUEST).name == "mine-1"
    assert open_folder(tmp_path, "mine-x", REQUEST).name == "mine-x-1"


def test_a_damaged_request_names_its_file(tmp_path):
    folder = open_folder(tmp_path, "mine", REQUEST)
    Path(folder.path / "request.json").write_text("{}")
    with pytest.raises(TrainingConfigError, match=r"mine-1/request\.json cannot be read"):
        open_folder(tmp_path, "mine", REQUEST)
