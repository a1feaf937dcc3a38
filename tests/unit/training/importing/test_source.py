"""What a SOURCE is taken for."""

import json
from pathlib import Path

import pytest

from diptych_training.errors import ImportFailed
from diptych_training.importing import source as sources
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.own import load_own_run
from diptych_training.importing.source import find_source, require_importable
from support.tiny_bundle import write_tiny_bundle
from support.tiny_run import write_tiny_run


def nothing(hub_id: str, revision: str | None, *, offline: bool) -> Path:
    raise AssertionError(f"{hub_id} was fetched")


class FolderHub:
    """Answers every id with one folder, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str | None, bool]] = []

    def __call__(self, hub_id: str, revision: str | None, *, offline: bool) -> Path:
        self.asked.append((hub_id, revision, offline))
        return self.folder


def test_a_run_is_found_by_folder_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    write_tiny_run(tmp_path / "runs" / "mine")

    for given in ("mine", str(tmp_path / "runs" / "mine")):
        assert find_source(given, Choices(), fetch=nothing).read is load_own_run


def test_folders_go_to_the_library_that_made_them(tmp_path: Path) -> None:
    theirs, both, stray, tower, other = (tmp_path / n for n in ("theirs", "both", "stray", "tower", "other"))
    for folder in (theirs, both, stray, tower, other):
        folder.mkdir()
    for folder, model_type in ((theirs, "clip"), (both, "clip"), (stray, "clip"), (tower, "roberta")):
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    for folder in (both, stray, tower):
        (folder / "open_clip_config.json").write_text("{}")
    for folder in (theirs, both, stray, tower):
        (folder / "model.safetensors").touch()
    (both / "open_clip_model.safetensors").touch()

    assert find_source(str(theirs), Choices()).read.__name__ == "load_hugging_face"
    assert find_source(str(both), Choices()).read.__name__ == "load_open_clip"
    # Its configuration alone beside weights of transformers; beside a text tower's configuration.
    assert find_source(str(stray), Choices()).read.__name__ == "load_hugging_face"
    assert find_source(str(tower), Choices()).read.__name__ == "load_open_clip"
    with pytest.raises(ImportFailed, match=r"other is not a supported checkpoint: looked for open_clip"):
        find_source(str(other), Choices())


def test_a_hub_id_is_fetched_and_its_commit_is_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "abc123"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    hub = FolderHub(folder)

    source = find_source("some/model@v1", Choices(offline=True), fetch=hub)

    assert hub.asked == [("some/model", "v1", True)]
    assert source.origin == {"hub": "some/model", "revision": "abc123"}


def test_what_is_neither_here_nor_a_hub_id_is_named() -> None:
    with pytest.raises(ImportFailed, match="'nowhere/at/all' is not a local file, folder or run, nor a"):
        find_source("nowhere/at/all", Choices(), fetch=nothing)


@pytest.mark.parametrize(
    ("choices", "flag"),
    [
        (Choices(image_size=32), "--image-size"),
        (Choices(mean=(0.1, 0.2, 0.3)), "--mean"),
        (Choices(architecture="ViT-B-32", resize_mode="squash"), "--resize-mode, --architecture"),
        (Choices(tokenizer="."), "--tokenizer"),
        (Choices(context_length=8), "--context-length"),
    ],
)
def test_our_own_files_leave_nothing_to_say(tmp_path: Path, choices: Choices, flag: str) -> None:
    write_tiny_run(tmp_path / "run")
    write_tiny_bundle(tmp_path)

    for folder, what in ((tmp_path / "run", "run run"), (tmp_path / "tiny" / "1", "bundle tiny/1")):
        with pytest.raises(ImportFailed, match=f"{what} was made by diptych .*: leave {flag} out"):
            find_source(str(folder), choices, fetch=nothing).load()


def test_a_missing_extra_is_said_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)

    needed = r"needs open_clip, transformers, timm.*: `make import SOURCE=... NAME=...` installs .*\[import\]"
    with pytest.raises(ImportFailed, match=needed):
        find_source(str(tmp_path), Choices())
    for given in (str(tmp_path), "some/model"):
        with pytest.raises(ImportFailed, match=needed):
            require_importable(given, Choices())
    write_tiny_run(tmp_path / "run")
    require_importable(str(tmp_path / "run"), Choices())


@pytest.mark.parametrize(
    ("config", "content", "refusal"),
    [
        ("config.json", {"model_type": "clip"}, "words has no tokenizer files; pass --tokenizer"),
        (
            "open_clip_config.json",
            {"model_cfg": {"text_cfg": {"hf_tokenizer_name": "some/bert"}}},
            "hf_tokenizer_name is some/bert, and the checkpoint holds no tokenizer: pass --tokenizer",
        ),
    ],
)
def test_a_missing_tokenizer_is_said_before_anything_is_read(
    tmp_path: Path, config: str, content: dict[str, object], refusal: str
) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / config).write_text(json.dumps(content))

    with pytest.raises(ImportFailed, match=refusal):
        require_importable(str(folder), Choices())
    require_importable(str(folder), Choices(tokenizer="some/words"))
    with pytest.raises(ImportFailed, match="--tokenizer nowhere: not a local file or folder, nor a hub id"):
        require_importable(str(folder), Choices(tokenizer="nowhere"))
    (folder / "tokenizer.json").touch()
    require_importable(str(folder), Choices())
