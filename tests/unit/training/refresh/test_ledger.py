"""The folder of a refresh: the same request continues, another one begins a new refresh."""

from pathlib import Path

import pytest

from diptych_training.errors import TrainingConfigError
from diptych_training.refresh.ledger import Published, RefreshFolder, Request, open_folder

REQUEST = Request(model="pictograms/5", pairs="abc")


def finished(folder: RefreshFolder, published: Published) -> None:
    folder.record(folder.ledger, published=published)


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
    finished(open_folder(tmp_path, "mine", REQUEST), published)
    assert open_folder(tmp_path, "mine", REQUEST).ledger.published == published
    again = open_folder(tmp_path, "mine", REQUEST, again=True)
    assert again.name == "mine-2"
    assert again.ledger.published is None


def test_an_interrupted_refresh_continues_though_it_is_wanted_again(tmp_path):
    open_folder(tmp_path, "mine", REQUEST)
    assert open_folder(tmp_path, "mine", REQUEST, again=True).name == "mine-1"


def test_models_whose_names_begin_alike_have_folders_of_their_own(tmp_path):
    open_folder(tmp_path, "mine-x", REQUEST)
    assert open_folder(tmp_path, "mine", REQUEST).name == "mine-1"
    assert open_folder(tmp_path, "mine-x", REQUEST).name == "mine-x-1"


def test_a_damaged_request_names_its_file(tmp_path):
    folder = open_folder(tmp_path, "mine", REQUEST)
    Path(folder.path / "refresh.json").write_text("{}")
    with pytest.raises(TrainingConfigError, match=r"mine-1/refresh\.json cannot be read"):
        open_folder(tmp_path, "mine", REQUEST)


def test_an_edited_recipe_is_noticed_and_the_training_that_begins_again_is_not_published(tmp_path):
    folder = open_folder(tmp_path, "mine", REQUEST)
    folder.recipe_file.write_text("lr = 1\n")
    folder.record(folder.ledger, trained_recipe="lr = 1\n")
    finished(folder, Published(name="mine", version=3, alpha=0.5))
    before = folder.ledger.id
    folder.run.path.mkdir()
    assert not folder.is_recipe_edited

    folder.recipe_file.write_text("lr = 2\n")
    assert folder.is_recipe_edited
    kept = folder.set_run_aside()

    assert kept.is_dir()
    assert not folder.run.path.exists()
    assert folder.ledger.id != before
    assert (folder.ledger.request, folder.ledger.published) == (REQUEST, None)


def test_a_folder_of_an_earlier_release_continues(tmp_path):
    folder = tmp_path / "mine-1"
    folder.mkdir()
    (folder / "request.json").write_text(f'{{"id": "af", "request": {REQUEST.model_dump_json()}}}\n')
    (folder / "trained-recipe.toml").write_text("lr = 1\n")
    (folder / "recipe.toml").write_text("lr = 2\n")
    (folder / "published.json").write_text('{"name": "mine", "version": 2, "alpha": 0.5}\n')

    found = open_folder(tmp_path, "mine", REQUEST)

    assert found.path == folder
    assert (found.ledger.id, found.ledger.published) == ("af", Published(name="mine", version=2, alpha=0.5))
    assert found.is_recipe_edited
