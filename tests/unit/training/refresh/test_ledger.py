"""The folder of a refresh: the same request continues, another one begins a new refresh."""

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
