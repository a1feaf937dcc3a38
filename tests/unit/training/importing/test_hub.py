"""Fetching a checkpoint from a hub: which files, from where, and what a refusal says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych_training.errors import ImportFailed
from diptych_training.importing.hub import HUB_ID, fetch_checkpoint
from support.local_hub import COMMIT, LocalHub, local_hub


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{{}} {name}")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    described = ("config.json", "tokenizer.json", "README.md")
    models = {
        "some/safe": write(
            tmp_path / "safe",
            *described,
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/config.json",
            "tf_model.h5",
        ),
        "some/old": write(tmp_path / "old", *described, "pytorch_model.bin", "optimizer.bin"),
        "some/both": write(
            tmp_path / "both",
            *described,
            "open_clip_config.json",
            "open_clip_model.safetensors",
            "model.safetensors",
        ),
        "some/stray": write(
            tmp_path / "stray", *described, "open_clip_config.json", "model.safetensors", "tf_model.h5"
        ),
        "some/words": write(tmp_path / "words", *described),
    }
    with local_hub(models) as running:
        yield running


def test_safetensors_are_fetched_and_nothing_that_is_not_read(hub: LocalHub, tmp_path: Path) -> None:
    folder = fetch_checkpoint("some/safe", None, offline=False, endpoint=hub.url, cache=tmp_path / "cache")

    found = {path.name for path in folder.iterdir()}
    assert found == {"config.json", "tokenizer.json", "README.md", "model.safetensors"}
    assert folder.name == COMMIT


def test_a_pickle_is_fetched_only_where_there_is_nothing_else(hub: LocalHub, tmp_path: Path) -> None:
    folder = fetch_checkpoint("some/old", None, offline=False, endpoint=hub.url, cache=tmp_path / "cache")

    assert (folder / "pytorch_model.bin").is_file()
    assert not (folder / "optimizer.bin").exists()


def test_of_a_checkpoint_in_two_libraries_open_clips_weights_are_fetched(
    hub: LocalHub, tmp_path: Path
) -> None:
    folder = fetch_checkpoint("some/both", None, offline=False, endpoint=hub.url, cache=tmp_path / "cache")

    assert [path.name for path in folder.glob("*.safetensors")] == ["open_clip_model.safetensors"]


def test_what_was_fetched_is_not_fetched_again_and_is_there_offline(hub: LocalHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = fetch_checkpoint("some/safe", None, offline=False, endpoint=hub.url, cache=cache)
    n_fetched = len(hub.fetched)

    assert fetch_checkpoint("some/safe", None, offline=False, endpoint=hub.url, cache=cache) == first
    assert len(hub.fetched) == n_fetched == 4
    assert (
        fetch_checkpoint("some/safe", None, offline=True, endpoint="http://127.0.0.1:9", cache=cache) == first
    )


def test_offline_without_a_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed) as caught:
        fetch_checkpoint("some/safe", None, offline=True, cache=tmp_path)
    assert str(caught.value) == (
        "some/safe cannot be downloaded: --offline forbids asking the hub, and it is not in the local cache"
    )


def test_an_unknown_model_is_named(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(
        ImportFailed, match="some/other@v2 cannot be downloaded: the hub has no such model, or it is private"
    ):
        fetch_checkpoint("some/other", "v2", offline=False, endpoint=hub.url, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("given", "id", "revision"),
    [
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32", None),
        ("hf-hub:some/model", "some/model", None),
        ("some/model@refs/pr/3", "some/model", "refs/pr/3"),
        ("model", None, None),
        ("../some/model", None, None),
        ("a/b/c", None, None),
    ],
)
def test_hub_ids_have_an_owner_and_a_name(given: str, id: str | None, revision: str | None) -> None:
    match = HUB_ID.fullmatch(given)

    assert (match and (match["id"], match["revision"])) == (id and (id, revision))
