"""Engines are kept whole or not at all, whatever ended the process that built them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from diptych.adapters import engine_folder
from diptych.adapters.engine_folder import EngineFolder
from diptych.errors import ConfigError

RECIPE = {"onnxruntime": "1.31.1", "image_encoder": {"trt_profile_max_shapes": "pixels:8x32x32x3"}}
GPU = "NVIDIA H100 80GB HBM3"


def folder(root: Path, identity: str = "a" * 64, tensorrt: str = "10.16.1") -> EngineFolder:
    return EngineFolder(root, identity, GPU, tensorrt)


def built(root: Path, payload: bytes = b"an engine", **names: str) -> EngineFolder:
    found = folder(root, **names)
    assert found.try_lock()
    draft = found.draft()
    (draft / "image_encoder.engine").write_bytes(payload)
    (draft / "cache_sm90.timing").write_bytes(b"times")
    found.publish(draft, RECIPE)
    found.unlock()
    return found


def test_path_names_identity_gpu_and_version(tmp_path: Path) -> None:
    assert folder(tmp_path).path == tmp_path / ("a" * 64) / "nvidia-h100-80gb-hbm3-10.16.1"
    assert EngineFolder(tmp_path, "b", "???", "10.0.0").path.name == "gpu-10.0.0"


def test_what_was_built_is_held_for_its_recipe_alone(tmp_path: Path) -> None:
    found = built(tmp_path)
    assert found.holds(RECIPE)
    assert folder(tmp_path).holds(RECIPE)
    assert not found.holds(RECIPE | {"onnxruntime": "1.32.0"})
    assert not folder(tmp_path, tensorrt="10.17.0").holds(RECIPE)
    assert not folder(tmp_path, identity="b" * 64).holds(RECIPE)


@pytest.mark.parametrize("damage", ["cut", "gone", "no record", "half a record", "empty record"])
def test_damaged_engines_are_as_good_as_none(damage: str, tmp_path: Path) -> None:
    found = built(tmp_path)
    engine, record = found.path / "image_encoder.engine", found.path / "built.json"
    if damage == "cut":
        engine.write_bytes(b"an eng")
    elif damage == "gone":
        engine.unlink()
    elif damage == "no record":
        record.unlink()
    elif damage == "half a record":
        record.write_bytes(record.read_bytes()[:40])
    else:
        record.write_text(json.dumps({"recipe": RECIPE, "files": {}}))
    assert not found.holds(RECIPE)


def test_timings_may_change_without_harm(tmp_path: Path) -> None:
    found = built(tmp_path)
    (found.path / "cache_sm90.timing").write_bytes(b"more times")
    assert found.holds(RECIPE)


def test_build_that_ends_early_leaves_nothing_in_use_and_the_next_one_removes_it(tmp_path: Path) -> None:
    found = folder(tmp_path)
    assert found.try_lock()
    left = found.draft()
    (left / "image_encoder.engine").write_bytes(b"half")
    found.unlock()  # as the end of the process does
    assert not found.holds(RECIPE)
    assert built(tmp_path).holds(RECIPE)
    assert not left.exists()
    assert [one.name for one in found.path.parent.iterdir() if one.name.startswith(".tmp-")] == []


@pytest.mark.parametrize("at", ["write_durably", "fsync_folder", "rename"])
def test_failure_on_the_way_leaves_what_was_there_or_nothing(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    found = built(tmp_path)
    draft = found.draft()
    (draft / "image_encoder.engine").write_bytes(b"another")
    monkeypatch.setattr(*((Path, "rename") if at == "rename" else (engine_folder, at)), fails)
    with pytest.raises(
        ConfigError, match=r"the folder of engines .* cannot be used: No space left on device"
    ):
        found.publish(draft, RECIPE | {"onnxruntime": "1.32.0"})
    assert found.holds(RECIPE) or not found.path.exists()
    assert not found.holds(RECIPE | {"onnxruntime": "1.32.0"})


def test_new_engines_replace_old_ones_whole(tmp_path: Path) -> None:
    built(tmp_path)
    found = built(tmp_path, b"another engine")
    assert (found.path / "image_encoder.engine").read_bytes() == b"another engine"
    assert found.holds(RECIPE)


def test_one_process_builds_at_a_time(tmp_path: Path) -> None:
    first, second = folder(tmp_path), folder(tmp_path)
    assert first.try_lock()
    assert not second.try_lock()
    first.unlock()
    assert second.try_lock()


def test_builds_begin_with_timings_of_other_versions_on_such_a_gpu(tmp_path: Path) -> None:
    built(tmp_path)
    other = folder(tmp_path, identity="b" * 64)
    assert other.try_lock()
    assert [(file.name, file.read_bytes()) for file in other.draft().iterdir()] == [
        ("cache_sm90.timing", b"times")
    ]
    newer = folder(tmp_path, identity="c" * 64, tensorrt="10.17.0")
    assert newer.try_lock()
    assert list(newer.draft().iterdir()) == []


def test_discarded_engines_are_gone(tmp_path: Path) -> None:
    found = built(tmp_path)
    found.discard()
    assert not found.path.exists()
    found.discard()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="cannot be used: Permission denied"):
            folder(tmp_path).try_lock()
    finally:
        tmp_path.chmod(0o700)


def test_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigError, match=r"the folder of engines .*cache.* cannot be used: Not a directory"):
        folder(tmp_path / "cache").try_lock()
    shutil.rmtree(tmp_path)
