"""Versions of the model repository that may be served, and the copies that the data folder keeps."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.adapters.files.quota import Quota
from diptych.adapters.model_bundles import ModelBundles
from diptych.bundle.calibration import read_calibration, write_calibration
from diptych.bundle.manifest import Manifest, bundle_digest, read_manifest
from diptych.bundle.repository import ModelRepository
from diptych.core.types import VersionRef
from diptych.errors import BundleError, ConfigError, CorruptBundle, NotFound, StoreFull
from support.bundle_examples import draft, fill_bundle
from support.calibrations import MAP, write_tiny_calibration
from support.tiny_bundle import TINY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "model_repo"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "models"


def publish(root: Path, name: str = "m") -> VersionRef:
    repository = ModelRepository(root)
    with repository.staging(name) as staged:
        fill_bundle(staged)
        version = repository.publish(name, staged, draft())
    return VersionRef(name, version, bundle_digest(repository.folder(name, version)))


def bundles(
    root: Path, models: Path, why_not: Callable[[Manifest], str | None] = lambda manifest: None
) -> ModelBundles:
    return ModelBundles(ModelRepository(root), KeptBundles(models), why_not)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_newest_version_that_may_be_served_is_found(root: Path, models: Path) -> None:
    assert bundles(root, models).newest("m") is None
    first, second = publish(root), publish(root)
    publish(root, "other")
    found = bundles(root, models)
    assert (found.newest("m"), found.find("m", 1)) == (second, first)
    assert found.newest("m", {second}) == first
    picky = bundles(root, models, lambda manifest: "not here" if manifest.version == 2 else None)
    assert picky.newest("m") == first
    with pytest.raises(ConfigError, match="m/2 cannot be served here: not here"):
        picky.find("m", 2)
    with pytest.raises(NotFound):
        found.find("m", 3)


def half_copied(folder: Path) -> None:
    (folder / "text_encoder.onnx").write_bytes(b"half")


def without_a_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def with_another_file(folder: Path) -> None:
    (folder / "text_encoder.onnx.part").write_bytes(b"")


def malformed(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"schema_version": 1}')


def moved(folder: Path) -> None:
    folder.rename(folder.with_name("9"))


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (half_copied, "2", "text_encoder.onnx: has 4 bytes"),
        (without_a_file, "2", "tokenizer.json: cannot be read"),
        (with_another_file, "2", "text_encoder.onnx.part: not listed"),
        (malformed, "2", "Field required"),
        (moved, "9", "says it is m/2"),
    ],
)
def test_version_that_is_not_whole_is_passed_over_and_reported(
    root: Path, models: Path, damage: Callable[[Path], None], name: str, reason: str
) -> None:
    first, _ = publish(root), publish(root)
    found = bundles(root, models)
    assert found.broken("m") == {}
    damage(root / "m" / "2")
    assert found.newest("m") == first
    assert list(found.broken("m")) == [name]
    assert reason in found.broken("m")[name]
    with pytest.raises(BundleError):
        found.find("m", int(name))


def test_foreign_folders_are_reported_and_those_of_publishers_are_not(root: Path, models: Path) -> None:
    publish(root)
    for name in (".tmp-abc", ".hidden", "v2", "02", "7"):
        (root / "m" / name).mkdir()
    for name, target in (("8", "1"), ("9", "nowhere"), ("latest", "1")):
        (root / "m" / name).symlink_to(target)
    (root / "m" / "1.calibration.npz").write_bytes(b"")
    (root / "m" / "10").write_bytes(b"")
    assert bundles(root, models).broken("m") == {
        "02": "its name is not the number of a version",
        "10": "it has no manifest.json",
        "7": "it has no manifest.json",
        "8": "it is a link",
        "9": "it is a link",
        "latest": "its name is not the number of a version",
        "v2": "its name is not the number of a version",
    }
    assert bundles(root, models).broken("unknown") == {}


def test_version_that_was_replaced_is_another_one(root: Path, models: Path) -> None:
    before = publish(root)
    found = bundles(root, models)
    assert found.newest("m") == before
    shutil.rmtree(root / "m" / "1")
    after = publish(root)
    assert (after.version, after.bundle != before.bundle) == (1, True)
    assert found.newest("m") == after
    with pytest.raises(NotFound):
        found.folder(before)


def test_kept_version_outlives_the_model_repository(root: Path, models: Path) -> None:
    ref = publish(root)
    found = bundles(root, models)
    assert found.folder(ref) == root / "m" / "1"
    found.keep([ref])
    whole = content(root / "m" / "1")
    shutil.rmtree(root)
    again = bundles(root, models)
    assert again.folder(ref) == models / ref.bundle[:16]
    assert content(again.folder(ref)) == whole
    again.keep([ref])  # needs no model repository any more


def test_damage_in_the_model_repository_does_not_reach_the_copy(root: Path, models: Path) -> None:
    ref = publish(root)
    found = bundles(root, models)
    found.keep([ref])
    whole = content(root / "m" / "1")
    for path in (root / "m" / "1").iterdir():
        path.write_bytes(b"damaged")
    assert found.folder(ref) == models / ref.bundle[:16]
    assert content(found.folder(ref)) == whole


def test_copy_that_does_not_fit_on_the_disk_is_refused_before_it_is_begun(
    root: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = publish(root)
    n_bytes = sum(
        len(payload) for name, payload in content(root / "m" / "1").items() if name != "manifest.json"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=n_bytes - 1))
    with pytest.raises(StoreFull, match=f"a copy of m/1 takes {n_bytes} bytes of the disk"):
        bundles(root, models).keep([ref])
    assert list(models.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=n_bytes))
    bundles(root, models).keep([ref])


def test_incomplete_version_gives_way_to_its_copy(root: Path, models: Path) -> None:
    first, second = publish(root), publish(root)
    found = bundles(root, models)
    found.keep([first])
    for version in ("1", "2"):
        without_a_file(root / "m" / version)
    assert found.folder(first) == models / first.bundle[:16]
    assert found.folder(second) == root / "m" / "2"  # its own files tell what it lacks


def test_what_is_needed_no_more_is_removed_with_leftovers(root: Path, models: Path) -> None:
    first, second = publish(root), publish(root)
    found = bundles(root, models)
    found.keep([first, second, second])
    (models / ".tmp-killed").mkdir()
    found.keep([second])
    assert [path.name for path in models.iterdir()] == [second.bundle[:16]]
    found.keep([])
    assert list(models.iterdir()) == []


def test_copy_is_private(root: Path, models: Path) -> None:
    ref = publish(root)
    bundles(root, models).keep([ref])
    copy = models / ref.bundle[:16]
    assert content(copy) == content(root / "m" / "1")
    assert {path.stat().st_mode & 0o077 for path in (models, copy, *copy.iterdir())} == {0}


def test_copies_count_against_the_limit_of_the_data_folder(root: Path, models: Path) -> None:
    ref = publish(root)
    n_bytes = sum(len(payload) for payload in content(root / "m" / "1").values())

    def opened(max_bytes: int) -> tuple[ModelBundles, Quota]:
        quota = Quota(max_bytes)
        return ModelBundles(ModelRepository(root), KeptBundles(models, quota), lambda manifest: None), quota

    full, quota = opened(n_bytes - 1)
    with pytest.raises(StoreFull):
        full.keep([ref])
    assert (quota.free_bytes, list(models.iterdir())) == (n_bytes - 1, [])
    found, quota = opened(n_bytes)
    found.keep([ref])
    assert quota.free_bytes == 0
    found, quota = opened(n_bytes)  # as after a restart
    assert quota.free_bytes == 0
    found.keep([])
    assert quota.free_bytes == n_bytes


def test_damaged_copy_is_made_again(root: Path, models: Path) -> None:
    ref = publish(root)
    found = bundles(root, models)
    found.keep([ref])
    (models / ref.bundle[:16] / "golden.npz").unlink()
    found.keep([ref])
    assert content(models / ref.bundle[:16]) == content(root / "m" / "1")


def test_version_that_is_nowhere_is_named_and_the_others_are_kept(root: Path, models: Path) -> None:
    ref = publish(root)
    gone = VersionRef("m", 7, "7" * 64)
    with pytest.raises(CorruptBundle, match="m/7: neither in the model repository nor in the data folder"):
        bundles(root, models).keep([gone, ref])
    assert read_manifest(models / ref.bundle[:16]).version == 1


def kept_calibration(found: ModelBundles, ref: VersionRef) -> Path:
    return found.calibrations(ref)[1]


def test_calibration_of_a_kept_version_outlives_the_model_repository(root: Path, models: Path) -> None:
    ref = publish(root, TINY)
    written = write_tiny_calibration(root).read_bytes()
    bundles(root, models).keep([ref])
    shutil.rmtree(root)
    again = bundles(root, models)
    again.keep([ref])
    kept = kept_calibration(again, ref)
    assert kept == models / f"{ref.bundle[:16]}.calibration.npz"
    assert (kept.read_bytes(), kept.stat().st_mode & 0o077) == (written, 0)
    again.keep([])
    assert list(models.iterdir()) == []


def test_copy_without_calibration_gets_the_one_of_the_model_repository(root: Path, models: Path) -> None:
    ref = publish(root, TINY)
    found = bundles(root, models)
    found.keep([ref])
    assert not kept_calibration(found, ref).exists()
    for floor in (2.0, 3.0):  # made later, and made again
        written = write_tiny_calibration(root, relevance=MAP.model_copy(update={"floor": floor}))
        found.keep([ref])
        assert kept_calibration(found, ref).read_bytes() == written.read_bytes()


def test_calibration_that_is_damaged_or_deleted_does_not_replace_the_copy(root: Path, models: Path) -> None:
    ref = publish(root, TINY)
    file = write_tiny_calibration(root)
    found, whole = bundles(root, models), file.read_bytes()
    found.keep([ref])
    file.write_bytes(whole[:-9])
    found.keep([ref])
    assert kept_calibration(found, ref).read_bytes() == whole
    file.unlink()
    found.keep([ref])
    assert kept_calibration(found, ref).read_bytes() == whole


def test_calibration_alone_is_kept_for_a_version_that_has_left_if_it_fits(root: Path, models: Path) -> None:
    ref = publish(root, TINY)
    found = bundles(root, models)
    found.keep([ref])
    file = write_tiny_calibration(root)
    fits = file.read_bytes()
    manifest = read_manifest(root / TINY / "1")
    shutil.rmtree(root / TINY / "1")
    write_calibration(file, replace(read_calibration(file, manifest), identity="0" * 64))
    found.keep([ref])
    assert not kept_calibration(found, ref).exists()
    file.write_bytes(fits)
    found.keep([ref])
    assert kept_calibration(found, ref).read_bytes() == fits


def test_calibrations_count_against_the_limit_of_the_data_folder(root: Path, models: Path) -> None:
    ref = publish(root, TINY)
    write_tiny_calibration(root)
    quota = Quota(10**9)
    found = ModelBundles(ModelRepository(root), KeptBundles(models, quota), lambda manifest: None)
    found.keep([ref])
    assert 10**9 - quota.free_bytes == found.kept_bytes(ref)
    again = Quota(10**9)
    KeptBundles(models, again)  # as after a restart
    assert again.free_bytes == quota.free_bytes
    found.keep([])
    assert quota.free_bytes == 10**9
