"""Finds, verifies and publishes bundles in `<root>/<name>/<version>/`."""

import errno
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from diptych.bundle.calibration import calibration_file
from diptych.bundle.checksums import check_files, describe_files
from diptych.bundle.manifest import (
    MANIFEST_FILE,
    NAME_PATTERN,
    Manifest,
    ManifestDraft,
    complete,
    read_manifest,
)
from diptych.durable import fsync_folder, write_durably
from diptych.errors import (
    BundleError,
    InvalidManifest,
    InvalidValue,
    NotFound,
    PublishFailed,
    RepositoryFull,
)

SHIPPED_NAME = "everyday"  # the default model, whose versions come with the sources
STAGING_PREFIX = ".tmp-"
README = "README.md"
VERSION = r"[1-9][0-9]{0,8}"
STALE_AFTER_S = 24 * 3600.0
N_TRIES = 100


class ModelRepository:
    """Immutable versions 1, 2, 3, ... under each model's name.

    A version appears by one rename, so that a reader sees all of it or nothing. Several processes may publish
    and read at the same time. The folder of a name may be a link to another disk; that of a version may not.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """The names that have at least one version, sorted."""
        if not self._root.is_dir():
            return []
        return sorted(entry.name for entry in self._root.iterdir() if _is_name(entry) and _versions(entry))

    def versions(self, name: str) -> list[int]:
        """The complete versions of a name, ascending. Raises NotFound if there is no such name."""
        folder = self._root / name
        if not re.fullmatch(NAME_PATTERN, name) or not folder.is_dir():
            raise NotFound(f"no model named {name!r}; there is: {', '.join(self.names()) or 'none'}")
        return _versions(folder)

    def latest(self, name: str) -> int:
        """The highest version. Raises NotFound."""
        versions = self.versions(name)
        if not versions:
            raise NotFound(f"model {name!r} has no version")
        return versions[-1]

    def folder(self, name: str, version: int) -> Path:
        """The folder of a complete version. Raises NotFound."""
        versions = self.versions(name)
        if version not in versions:
            there = ", ".join(map(str, versions)) or "none"
            raise NotFound(f"model {name!r} has no version {version}; there is: {there}")
        return self._root / name / str(version)

    def calibration(self, name: str, version: int) -> Path:
        """The file of the calibration of a version. Neither need exist."""
        return calibration_file(self._root / name / str(version))

    def manifest(self, name: str, version: int) -> Manifest:
        """The manifest of a version. Raises NotFound; InvalidManifest, also if it names another version."""
        manifest = read_manifest(self.folder(name, version))
        if (manifest.name, manifest.version) != (name, version):
            raise InvalidManifest(
                f"{name}/{version}/{MANIFEST_FILE}: says it is {manifest.name}/{manifest.version}"
            )
        return manifest

    def strangers(self, name: str) -> dict[str, str]:
        """Entries of a model's folder that are not versions, by name, with the reason.

        What is hidden is left out, and so are files unless they have the number of a version. A name
        that no model may have has nothing.
        """
        return _reasons(self._root / name, _why_no_version) if re.fullmatch(NAME_PATTERN, name) else {}

    def strange_names(self) -> dict[str, str]:
        """Entries of the repository that are not models, by name, with the reason.

        What is hidden, as the folders of publishers are, and a README are left out.
        """
        return _reasons(self._root, _why_no_model)

    def verify(self, name: str, version: int) -> Manifest:
        """The manifest, once every byte of the bundle has been checked.

        Raises CorruptBundle naming the file.
        """
        manifest = self.manifest(name, version)
        check_files(self.folder(name, version), manifest.files)
        return manifest

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """Make a new folder on the repository's file system, to be filled and published.

        Unless it is published it is removed on exit, and with it the folder of the name if that is empty.
        Raises InvalidValue for a bad name, PublishFailed if the repository cannot be written.
        """
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidValue(f"model name {name!r} must match {NAME_PATTERN}")
        staged = self._root / name / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
        try:
            _make_folder(staged)
            fsync_folder(self._root)
            _remove_stale(staged.parent)
        except OSError as error:
            raise publish_error(f"cannot write to the model repository {self._root}", error) from error
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            with suppress(OSError):  # it holds versions, or another publisher's files
                staged.parent.rmdir()

    def publish(self, name: str, staged: Path, draft: ManifestDraft) -> int:
        """Make the staged files the next version of `name`, durably, and return its number.

        Raises PublishFailed, or InvalidManifest if the draft and the files contradict each other. `staging`
        then removes the staged folder.
        """
        self._require_staging(name, staged)
        try:
            files, now = describe_files(staged), datetime.now(UTC)
        except OSError as error:
            raise publish_error(f"cannot publish {name!r}", error) from error
        return self._publish_next(name, staged, lambda version: complete(draft, name, version, now, files))

    def publish_copy(self, name: str, staged: Path, manifest: Manifest) -> int:
        """Make the staged copy of a version from elsewhere the next version of `name`, and return its number.

        The manifest keeps everything but its name and version. The caller has compared the files with it and
        synced them. Raises PublishFailed.
        """
        return self._publish_next(
            name, staged, lambda version: manifest.model_copy(update={"name": name, "version": version})
        )

    def find_copy(self, name: str, manifest: Manifest) -> int | None:
        """The newest version of `name` that has the same files and manifest, apart from name, version, time.

        Versions whose manifest cannot be read are passed over.
        """
        versions = self.versions(name) if name in self.names() else []
        for version in reversed(versions):
            with suppress(BundleError):
                found = self.manifest(name, version)
                own = {"name": found.name, "version": found.version, "created_at": found.created_at}
                if manifest.model_copy(update=own) == found:
                    return version
        return None

    def _require_staging(self, name: str, staged: Path) -> None:
        if staged.parent != self._root / name or not staged.name.startswith(STAGING_PREFIX):
            raise PublishFailed(f"{staged.name!r} is not a staging folder of {name!r}")

    def _publish_next(self, name: str, staged: Path, manifest_of: Callable[[int], Manifest]) -> int:
        self._require_staging(name, staged)
        try:
            version = _next_version(staged.parent)
            while not self._try_publish(staged, manifest_of(version)):
                version += 1
        except OSError as error:
            raise publish_error(f"cannot publish {name!r}", error) from error
        return version

    def _try_publish(self, staged: Path, manifest: Manifest) -> bool:
        """Whether it was published; False if another publisher took the version in between."""
        write_durably(staged / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode() + b"\n")
        fsync_folder(staged)
        try:
            staged.rename(staged.parent / str(manifest.version))
        except OSError:
            if (staged.parent / str(manifest.version)).exists():
                return False  # a rename never replaces a file, or a folder with files in it
            raise
        fsync_folder(staged.parent)
        return True


def publish_error(what: str, error: OSError) -> PublishFailed:
    """The error of a write that failed: RepositoryFull if no space is left. `what` begins the message."""
    kind = RepositoryFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else PublishFailed
    return kind(f"{what}: {error.strerror or error}")


def _make_folder(staged: Path) -> None:
    """Make the folder as `mkdir` does, not `mkdtemp`: other users must be able to read a bundle."""
    for _ in range(N_TRIES):
        try:
            staged.mkdir(parents=True)
            return
        except FileNotFoundError:
            continue  # a publisher that failed has just removed the empty folder of the name
    staged.mkdir(parents=True)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except PermissionError:  # the version is there, and reading it will report the error
        return True


def _is_name(path: Path) -> bool:
    return re.fullmatch(NAME_PATTERN, path.name) is not None and path.is_dir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []  # a publisher that failed has just removed the empty folder, or a file is in its place


def _numbers(folder: Path) -> list[int]:
    return sorted(int(entry.name) for entry in _entries(folder) if re.fullmatch(VERSION, entry.name))


def _reasons(folder: Path, why: Callable[[Path], str | None]) -> dict[str, str]:
    found = {entry.name: why(entry) for entry in _visible(folder)}
    return {name: reason for name, reason in sorted(found.items()) if reason is not None}


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if not entry.name.startswith(".")]


def _why_no_model(entry: Path) -> str | None:
    if entry.name == README:
        return None
    if not entry.is_dir():
        return "it is a file" if entry.is_file() else "it is a link to nothing"
    if not re.fullmatch(NAME_PATTERN, entry.name):
        return f"its name does not match {NAME_PATTERN}"
    if _versions(entry) or not _visible(entry):
        return None
    found = _reasons(entry, _why_no_version)
    return ", ".join(["it has no version", *(f"{name}: {reason}" for name, reason in found.items())])


def _why_no_version(entry: Path) -> str | None:
    if not re.fullmatch(VERSION, entry.name):
        return None if entry.is_file() else "its name is not the number of a version"
    if entry.is_symlink():
        return "it is a link"
    return None if _is_file(entry / MANIFEST_FILE) else f"it has no {MANIFEST_FILE}"


def _versions(folder: Path) -> list[int]:
    return [
        number
        for number in _numbers(folder)
        if _is_folder(folder / str(number)) and _is_file(folder / str(number) / MANIFEST_FILE)
    ]


def _next_version(folder: Path) -> int:
    """One above the highest number in use, by complete versions or not: numbers are never used twice."""
    return max(_numbers(folder), default=0) + 1


def _remove_stale(folder: Path) -> None:
    """Remove staging folders of killed publishers in which nothing was touched for a day."""
    for entry in folder.glob(f"{STAGING_PREFIX}*"):
        try:
            touched = max(path.lstat().st_mtime for path in (entry, *entry.iterdir()))
        except OSError:
            continue  # another publisher is removing it, or it is not a folder
        if time.time() - touched > STALE_AFTER_S and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
