import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych.errors import CorruptBundle, InvalidManifest, InvalidValue, NotFound, PublishFailed
from support.bundle_examples import draft, fill_bundle
from support.other_user import as_nobody_in_particular


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "model_repo")


def publish(repository, name="mine"):
    with repository.staging(name) as staged:
        fill_bundle(staged)
        return repository.publish(name, staged, draft())


def root(repository, name="mine"):
    return repository.folder(name, repository.latest(name)).parent


def test_versions_count_up_from_one(repository):
    assert [publish(repository) for _ in range(11)] == list(range(1, 12))
    assert repository.versions("mine") == list(range(1, 12))
    assert repository.latest("mine") == 11
    assert repository.names() == ["mine"]


def test_published_bundle_verifies_and_knows_its_name_and_files(repository):
    manifest = repository.verify("mine", publish(repository))
    assert (manifest.name, manifest.version, manifest.schema_version) == ("mine", 1, 1)
    assert sorted(manifest.files) == [
        "golden.npz",
        "image_encoder.onnx",
        "text_encoder.onnx",
        "tokenizer.json",
    ]
    assert manifest.created_at.utcoffset().total_seconds() == 0


def test_nothing_of_an_abandoned_staging_remains(repository):
    publish(repository)
    with pytest.raises(ZeroDivisionError), repository.staging("mine") as staged:
        fill_bundle(staged)
        raise ZeroDivisionError
    assert [path.name for path in root(repository).iterdir()] == ["1"]


def test_an_abandoned_staging_leaves_no_folder_of_its_name(repository, tmp_path):
    with pytest.raises(ZeroDivisionError), repository.staging("new") as staged:
        fill_bundle(staged)
        raise ZeroDivisionError
    assert not list(tmp_path.rglob("new"))
    with repository.staging("new"), pytest.raises(ZeroDivisionError), repository.staging("new"):
        raise ZeroDivisionError  # another user of the folder


def test_publishers_that_fail_do_not_disturb_others_of_the_same_name(repository):
    def fail(_):
        with repository.staging("mine"):
            pass

    with ThreadPoolExecutor(8) as pool:
        failing = pool.map(fail, range(64))
        versions = list(pool.map(lambda _: publish(repository), range(4)))
        list(failing)
    assert sorted(versions) == [1, 2, 3, 4]


def test_staged_and_incomplete_folders_are_no_versions(repository):
    publish(repository)
    (root(repository) / "2").mkdir()
    (root(repository) / "latest").symlink_to("1")
    (root(repository) / "3").symlink_to("1")
    (root(repository) / "04").mkdir()
    with repository.staging("mine"):
        assert repository.versions("mine") == [1]


def test_a_name_may_be_a_link_to_a_folder_elsewhere(repository, tmp_path):
    publish(repository)
    folder = root(repository)
    folder.rename(tmp_path / "other_disk")
    folder.symlink_to(tmp_path / "other_disk")
    assert repository.names() == ["mine"]
    assert repository.verify("mine", 1).version == 1
    assert publish(repository) == 2
    assert (tmp_path / "other_disk" / "2").is_dir()
    with pytest.raises(ZeroDivisionError), repository.staging("mine"):
        raise ZeroDivisionError
    assert repository.versions("mine") == [1, 2]


def test_what_is_no_model_is_named_with_the_reason(repository, tmp_path):
    publish(repository)
    mine = root(repository)
    mine.rename(tmp_path / "other_disk")
    mine.symlink_to(tmp_path / "other_disk")  # it stays a model
    top = mine.parent
    for file in ("README.md", ".gitignore", "mine.tar"):
        (top / file).write_text("a file")
    for folder in ("Mine", "bare", "half/1", "half/v2", "begun/.tmp-1"):
        (top / folder).mkdir(parents=True)
    (top / "bare" / "manifest.json").write_text("{}")
    (top / "gone").symlink_to("nowhere")
    (top / "loop").symlink_to("loop")
    assert repository.names() == ["mine"]
    assert repository.strange_names() == {
        "Mine": "its name does not match ^[a-z0-9][a-z0-9._-]{0,63}$",
        "bare": "it has no version",
        "gone": "it is a link to nothing",
        "half": "it has no version, 1: it has no manifest.json, v2: its name is not the number of a version",
        "loop": "it is a link to nothing",
        "mine.tar": "it is a file",
    }


def test_a_number_is_never_used_twice_even_if_incomplete(repository):
    publish(repository)
    (root(repository) / "7").mkdir()
    assert publish(repository) == 8


def test_concurrent_publishers_each_get_their_own_version(repository):
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: publish(repository), range(16)))
    assert sorted(versions) == list(range(1, 17))
    for version in versions:
        repository.verify("mine", version)


def test_killed_publisher_leaves_nothing_that_readers_see(repository, tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from diptych.bundle.repository import ModelRepository\n"
        "with ModelRepository(Path(sys.argv[1])).staging('mine') as staged:\n"
        "    (staged / 'weights.safetensors').write_bytes(b'half'); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "model_repo")], check=False)
    assert killed.returncode == 9
    assert repository.versions("mine") == []
    assert repository.names() == []
    assert publish(repository) == 1


def test_staging_removes_leftovers_older_than_a_day_only(repository):
    publish(repository)
    folder = root(repository)
    ages_s = {".tmp-old": 100_000, ".tmp-fresh": 10, ".tmp-writing": 100_000}
    for name, age_s in ages_s.items():
        (folder / name).mkdir()
        (folder / name / "weights").touch()
        for path in (folder / name / "weights", folder / name):
            os.utime(path, (time.time() - age_s,) * 2)
    (folder / ".tmp-writing" / "weights").touch()  # a long write does not change the folder's own time
    with repository.staging("mine"):
        left = {path.name for path in folder.iterdir()}
    assert ".tmp-old" not in left
    assert {".tmp-fresh", ".tmp-writing"} <= left


def test_published_bundle_is_readable_by_others(repository):
    umask = os.umask(0o022)
    try:
        publish(repository)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(root(repository).joinpath("1").stat().st_mode) == 0o755
    assert stat.S_IMODE(root(repository).joinpath("1/manifest.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("damage", ["content", "size", "missing", "link", "folder", "unlisted"])
def test_verify_names_the_file_that_is_not_the_published_one(repository, tmp_path, damage):
    publish(repository)
    file = repository.folder("mine", 1) / ("weights.pt" if damage == "unlisted" else "golden.npz")
    if damage in ("missing", "link", "folder"):
        file.rename(tmp_path / "elsewhere")
    if damage == "link":
        file.symlink_to(tmp_path / "elsewhere")
    elif damage == "folder":
        file.mkdir()
    elif damage != "missing":
        file.write_bytes(b"X" * file.stat().st_size if damage == "content" else b"")
    with pytest.raises(CorruptBundle, match=f"mine/1/{file.name}: "):
        repository.verify("mine", 1)


def test_bundle_moved_to_another_number_is_refused(repository):
    publish(repository)
    repository.folder("mine", 1).rename(root(repository) / "5")
    with pytest.raises(InvalidManifest, match=r"mine/5/manifest.json: says it is mine/1"):
        repository.manifest("mine", 5)


def test_absent_names_and_versions_are_not_found(repository):
    with pytest.raises(NotFound, match="no model named 'mine'; there is: none"):
        repository.versions("mine")
    publish(repository)
    with pytest.raises(NotFound, match="no version 2; there is: 1"):
        repository.folder("mine", 2)
    with pytest.raises(NotFound, match="no model named 'yours'; there is: mine"):
        repository.latest("yours")


STRANGE_NAMES = ["../mine", "..", ".", "", "Mine", "a/b", "-a", "a" * 65, "a" * 5_000, "a\n", "a\0", "a b"]


@pytest.mark.parametrize("name", STRANGE_NAMES, ids=lambda name: repr(name[:10]))
def test_names_cannot_lead_out_of_the_repository(repository, name):
    publish(repository)
    assert repository.strangers(name) == {}
    with pytest.raises(NotFound):
        repository.versions(name)
    with pytest.raises(InvalidValue, match="model name"), repository.staging(name):
        pass


@pytest.mark.parametrize("intruder", ["folder", "link", "manifest.json", ".hidden"])
def test_only_plain_files_are_published(repository, intruder):
    with repository.staging("mine") as staged:
        fill_bundle(staged)
        target = staged / intruder
        if intruder == "folder":
            target.mkdir()
        elif intruder == "link":
            target.symlink_to("/etc/passwd")
        else:
            target.touch()
        with pytest.raises(PublishFailed, match=intruder):
            repository.publish("mine", staged, draft())
    assert repository.names() == []


def test_draft_that_names_a_file_which_is_not_there_is_refused(repository):
    with repository.staging("mine") as staged:
        fill_bundle(staged)
        (staged / "text_encoder.onnx").unlink()
        with pytest.raises(InvalidManifest, match=r"files does not list text_encoder.onnx"):
            repository.publish("mine", staged, draft())


def test_only_a_staging_folder_of_that_name_can_be_published(repository, tmp_path):
    with repository.staging("mine") as staged, pytest.raises(PublishFailed, match="not a staging folder"):
        repository.publish("yours", staged, draft())
    with pytest.raises(PublishFailed, match="not a staging folder"):
        repository.publish("mine", tmp_path, draft())


def test_unwritable_repository_says_so(tmp_path):
    (tmp_path / "model_repo").write_text("a file, not a folder")
    with (
        pytest.raises(PublishFailed, match="cannot write"),
        ModelRepository(tmp_path / "model_repo").staging("mine"),
    ):
        pass


def test_version_whose_folder_this_user_may_not_enter_is_there_and_says_why_it_cannot_be_read():
    """Root may have copied a version into the repository of a server that another user runs."""
    folder = Path(tempfile.mkdtemp(prefix="diptych-test-"))  # those of pytest are private
    try:
        folder.chmod(0o755)
        repository = ModelRepository(folder)
        publish(repository)
        publish(repository)
        repository.folder("mine", 2).chmod(0o000)
        with as_nobody_in_particular():
            assert repository.versions("mine") == [1, 2]
            with pytest.raises(
                InvalidManifest, match=r"mine/2/manifest\.json: cannot be read: Permission denied"
            ):
                repository.manifest("mine", 2)
    finally:
        repository.folder("mine", 2).chmod(0o755)
        shutil.rmtree(folder)
