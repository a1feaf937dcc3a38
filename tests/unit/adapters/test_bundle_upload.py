"""Versions that arrive as archives: what becomes a version, and what nobody may put into the repository."""

import asyncio
import errno
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diptych.adapters.bundle_upload import MAX_FILES, MAX_MANIFEST_BYTES, BundleUploads
from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from diptych.errors import InputError, InvalidValue, Malformed, PublishFailed, RepositoryFull, TooLarge
from diptych.tar import BLOCK
from support.bundle_examples import draft, fill_bundle
from support.tars import entry, files_of_bundle, header, tar_of, tar_with

Files = dict[str, bytes]


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "model_repo")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Of a version that another machine published: its manifest first."""
    elsewhere = ModelRepository(tmp_path / "elsewhere")
    with elsewhere.staging("theirs") as staged:
        fill_bundle(staged)
        elsewhere.publish("theirs", staged, draft())
    return files_of_bundle(elsewhere.folder("theirs", 1))


def accept(manifest: Manifest) -> None:
    pass


def push(
    repository: ModelRepository,
    archive: bytes,
    *,
    check: Callable[[Manifest], None] = accept,
    chunk_bytes: int = 700,
) -> int:
    async def pushed() -> int:
        async with BundleUploads(repository).open("mine", check) as upload:
            for start in range(0, len(archive), chunk_bytes):
                await upload.write(archive[start : start + chunk_bytes])
            return await upload.publish(await upload.finish())

    return asyncio.run(pushed())


def leftovers(repository: ModelRepository, tmp_path: Path) -> list[Path]:
    return list((tmp_path / "model_repo").rglob("*"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archive_becomes_a_version_with_the_same_files_under_its_new_name(
    repository: ModelRepository, files: Files, form: int
) -> None:
    assert push(repository, tar_of(files, form)) == 1
    manifest = repository.verify("mine", 1)
    theirs = Manifest.model_validate_json(files["manifest.json"])
    assert manifest == theirs.model_copy(update={"name": "mine"})
    published = files_of_bundle(repository.folder("mine", 1))
    assert published.pop("manifest.json")
    assert published == {name: content for name, content in files.items() if name != "manifest.json"}


def test_manifest_may_come_last_and_names_may_begin_with_the_folder(
    repository: ModelRepository, files: Files
) -> None:
    last = {name: files[name] for name in reversed(files)}
    assert list(last)[-1] == "manifest.json"
    assert push(repository, tar_of(last)) == 1
    dotted = tar_of({f"./{name}": content for name, content in files.items()})
    assert push(repository, tar_with(entry("./", tarfile.DIRTYPE))[:BLOCK] + dotted) == 2
    repository.verify("mine", 2)


def without(name: str) -> Callable[[Files], bytes]:
    return lambda files: tar_of({key: value for key, value in files.items() if key != name})


def with_file(name: str, content: bytes = b"more") -> Callable[[Files], bytes]:
    return lambda files: tar_of(files | {name: content})


def before(head: bytes) -> Callable[[Files], bytes]:
    return lambda files: head + tar_of(files)


def with_manifest(change: Callable[[Any], object]) -> Callable[[Files], bytes]:
    def changed(files: Files) -> bytes:
        manifest = json.loads(files["manifest.json"])
        change(manifest)
        return tar_of(files | {"manifest.json": json.dumps(manifest).encode()})

    return changed


def listing(name: str) -> Callable[[Files], bytes]:
    """An archive with a file of a bad name, which its manifest even lists."""
    entry_of = {"sha256": "0" * 64, "bytes": 4}
    return with_manifest(lambda manifest: manifest["files"].update({name: entry_of}))


def one_link(kind: bytes, target: str) -> bytes:
    return tar_with(entry("golden.npz", kind, target))[:BLOCK]


HOSTILE: dict[str, tuple[Callable[[Files], bytes], str]] = {
    "a path upwards": (with_file("../evil"), r"'../evil': must be a plain file name"),
    "an absolute path": (with_file("/etc/evil"), r"'/etc/evil': must be a plain file name"),
    "a folder in the name": (with_file("a/b"), r"'a/b': must be a plain file name"),
    "a path upwards after the folder": (with_file("./../evil"), "must be a plain file name"),
    "a hidden file": (with_file(".hidden"), "must be a plain file name"),
    "bytes that are no text": (before(header(b"\xff\xfe", b"0")), "must be a plain file name"),
    "a path in the manifest": (listing("../evil"), "manifest.json: files.*must be a plain file name"),
    "a soft link": (before(one_link(tarfile.SYMTYPE, "/etc/passwd")), "'golden.npz': is a link"),
    "a hard link": (before(one_link(tarfile.LNKTYPE, "manifest.json")), "'golden.npz': is a link"),
    "a device": (before(tar_with(entry("d", tarfile.CHRTYPE))[:BLOCK]), "'d': is a device"),
    "a folder": (before(tar_with(entry("d", tarfile.DIRTYPE))[:BLOCK]), "'d/': is a folder"),
    "an unlisted file": (with_file("weights.pt"), "weights.pt: is not listed in manifest.json"),
    "an unlisted file before the manifest": (
        lambda files: tar_of({"weights.pt": b"more"} | files),
        "weights.pt: is not listed in manifest.json",
    ),
    "a missing file": (without("golden.npz"), "golden.npz: is listed in manifest.json, but not in"),
    "no manifest": (without("manifest.json"), "manifest.json: is not in the archive"),
    "nothing": (lambda files: tar_of({}), "manifest.json: is not in the archive"),
    "a file of another size": (with_file("golden.npz", b"short"), "golden.npz: has 5 bytes, .* says 10"),
    "a file of other bytes": (with_file("golden.npz", b"golden.NPZ"), "golden.npz: sha256 is .*says"),
    "a file of other bytes before the manifest": (
        lambda files: tar_of({"golden.npz": b""} | files | {"golden.npz": b"golden.NPZ"}),
        "golden.npz: sha256 is .*, the manifest says",
    ),
    "a file twice": (
        lambda files: tar_of({"golden.npz": files["golden.npz"]})[:1024] + tar_of(files),
        "golden.npz: occurs twice",
    ),
    "the manifest twice": (
        lambda files: tar_of(files | {"./manifest.json": files["manifest.json"]}),
        "manifest.json: occurs twice",
    ),
    "a manifest that is no JSON": (with_file("manifest.json", b"{"), "manifest.json: not JSON"),
    "a manifest with an unknown key": (
        with_manifest(lambda manifest: manifest.update(extras={})),
        "manifest.json: extras: unknown key",
    ),
    "a manifest of the future": (
        with_manifest(lambda manifest: manifest.update(schema_version=99)),
        "manifest.json: schema_version 99 is newer",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("made", "complaint"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archive_is_refused_by_name_and_leaves_nothing(
    repository: ModelRepository,
    files: Files,
    tmp_path: Path,
    made: Callable[[Files], bytes],
    complaint: str,
) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        push(repository, made(files))
    assert leftovers(repository, tmp_path) == []
    assert not (tmp_path / "evil").exists()


def test_cut_off_archive_is_refused_wherever_it_ends(
    repository: ModelRepository, files: Files, tmp_path: Path
) -> None:
    whole = tar_of(files)
    for n_bytes in (0, 100, 512, 2000, len(whole) // 2, len(whole) // 512 * 512 - 20 * 512):
        with pytest.raises((Malformed, InvalidValue)):
            push(repository, whole[:n_bytes])
    assert leftovers(repository, tmp_path) == []


def test_too_many_files_entries_and_bytes_of_manifest_are_refused(
    repository: ModelRepository, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diptych.adapters.bundle_upload.fsync_file", lambda path: None)
    many = {f"f{number}": b"" for number in range(MAX_FILES + 1)}
    with pytest.raises(TooLarge, match=f"over {MAX_FILES} files"):
        push(repository, tar_of(many | files), chunk_bytes=10**6)
    with pytest.raises(TooLarge, match="entries"):
        push(repository, tar_with(entry("./", tarfile.DIRTYPE))[:BLOCK] * 5000, chunk_bytes=10**6)
    huge = header(b"manifest.json", b"%o" % (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(TooLarge, match=f"limit is {MAX_MANIFEST_BYTES}"):
        push(repository, huge)


def up_to_second_header(files: Files) -> bytes:
    """The start of an archive: the manifest, and the header of the file after it."""
    return tar_of(files)[: BLOCK + -(-len(files["manifest.json"]) // BLOCK) * BLOCK + BLOCK]


def test_manifest_that_is_refused_stops_the_push_before_the_other_files(
    repository: ModelRepository, files: Files
) -> None:
    def refuse(manifest: Manifest) -> None:
        assert manifest.name == "theirs"
        raise InvalidValue("not here", "manifest.json")

    with pytest.raises(InvalidValue, match="not here"):
        push(repository, up_to_second_header(files), check=refuse)


def test_damage_anywhere_is_an_error_of_ours_or_no_difference(
    repository: ModelRepository, files: Files, tmp_path: Path
) -> None:
    whole, chance = tar_of(files), random.Random(7)
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with suppress(InputError):
            repository.verify("mine", push(repository, bytes(damaged), chunk_bytes=5000))


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    def of(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=160_000, free=free))

    yield of


def test_push_leaves_a_reserve_on_the_disk(
    repository: ModelRepository, files: Files, tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    n_bytes = sum(map(len, files.values())) - len(files["manifest.json"])
    small_disk(10_000 + n_bytes - 1)
    with pytest.raises(RepositoryFull, match=f"{n_bytes} more are needed, and 10000 must stay free"):
        push(repository, tar_of(files))
    assert leftovers(repository, tmp_path) == []
    small_disk(10_000 + n_bytes)
    assert push(repository, tar_of(files)) == 1


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, RepositoryFull), (errno.EROFS, PublishFailed)])
def test_disk_that_fails_in_the_middle_is_told_apart_from_a_bad_archive(
    repository: ModelRepository,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[PublishFailed],
) -> None:
    def fail(path: Path) -> None:
        raise OSError(number, "the disk failed")

    monkeypatch.setattr("diptych.adapters.bundle_upload.fsync_file", fail)
    with pytest.raises(kind, match="the disk failed") as raised:
        push(repository, tar_of(files))
    assert type(raised.value) is kind
    assert leftovers(repository, tmp_path) == []


def test_copy_is_found_by_files_and_manifest_whatever_its_name_version_and_time(
    repository: ModelRepository, files: Files
) -> None:
    theirs = Manifest.model_validate_json(files["manifest.json"])
    assert repository.find_copy("mine", theirs) is None
    push(repository, tar_of(files))
    push(repository, tar_of(files))
    assert repository.find_copy("mine", theirs) == 2
    later = theirs.model_copy(update={"version": 9, "created_at": theirs.created_at.replace(year=2000)})
    assert repository.find_copy("mine", later) == 2
    assert repository.find_copy("mine", theirs.model_copy(update={"logit_scale": 5.0})) is None
    assert repository.find_copy("other", theirs) is None
    (repository.folder("mine", 2) / "manifest.json").write_text("{")
    assert repository.find_copy("mine", theirs) == 1
