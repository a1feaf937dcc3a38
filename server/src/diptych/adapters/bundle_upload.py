"""Writes a model version that arrives as a tar archive into a staging folder of the model repository."""

import asyncio
import hashlib
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from diptych.bundle.manifest import MANIFEST_FILE, FileEntry, Manifest, parse_manifest
from diptych.bundle.repository import ModelRepository, publish_error
from diptych.bundle.schema import FILE_NAME
from diptych.durable import fsync_file
from diptych.errors import BundleError, InvalidValue, RepositoryFull, TooLarge
from diptych.tar import Member, TarStream

MAX_FILES = 256
MAX_HEADERS = 4 * MAX_FILES  # with extension headers, of which writers put one or two before a file
MAX_MANIFEST_BYTES = 4_000_000
RESERVE_BYTES = 256_000_000  # of disk that a push leaves free for the server's own data
RESERVE_SHARE = 16  # on a small disk, at most one sixteenth of it

Check = Callable[[Manifest], None]


class _IncomingFile:
    """A file of the bundle that is being written; hashed on the way."""

    def __init__(self, path: Path, n_bytes: int) -> None:
        self.name = path.name
        self._path = path
        self._n_bytes = n_bytes
        self._digest = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")

    def write(self, piece: memoryview) -> None:
        self._file.write(piece)
        self._digest.update(piece)

    def end(self) -> FileEntry:
        """Close and sync it."""
        self._file.close()
        fsync_file(self._path)
        return FileEntry(sha256=self._digest.hexdigest(), bytes=self._n_bytes)

    def close(self) -> None:
        self._file.close()


class BundleUpload:
    """One version that arrives. Satisfies `diptych.core.push.StagedBundle`.

    Refuses as early as it can: a file that the manifest does not list before its bytes, if the manifest came
    first.
    """

    def __init__(self, repository: ModelRepository, name: str, check: Check) -> None:
        """Make the staging folder. Blocking. Raises PublishFailed."""
        self._repository = repository
        self._name = name
        self._check = check
        self._tar = TarStream(MAX_HEADERS)
        self._raw_manifest: bytearray | None = None
        self._manifest: Manifest | None = None
        self._file: _IncomingFile | None = None
        self._files: dict[str, FileEntry] = {}  # those that have arrived
        self._lock = threading.Lock()  # a cancelled call closes the upload while another thread writes it
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(repository.staging(name))

    async def write(self, chunk: bytes | bytearray) -> None:
        """Take the next chunk of the archive."""
        await asyncio.to_thread(self._write, chunk)

    async def finish(self) -> Manifest:
        """The manifest, once everything has arrived and is as it says."""
        return await asyncio.to_thread(self._finish)

    async def find_copy(self, manifest: Manifest) -> int | None:
        """The newest version of the same name that has the same content."""
        return await asyncio.to_thread(self._repository.find_copy, self._name, manifest)

    async def publish(self, manifest: Manifest) -> int:
        """Make the files the next version."""
        return await asyncio.to_thread(self._publish, manifest)

    def close(self) -> None:
        """Remove the staging folder, unless it was published. Blocking."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._stack.close()

    def _write(self, chunk: bytes | bytearray) -> None:
        with self._lock, self._translated():
            for part in self._tar.feed(chunk):
                if isinstance(part, Member):
                    self._end_file()
                    self._begin_file(part)
                elif self._file is not None:
                    self._file.write(part)
                else:
                    assert self._raw_manifest is not None, "the only other file"
                    self._raw_manifest += part

    def _finish(self) -> Manifest:
        with self._lock, self._translated():
            self._tar.finish()
            self._end_file()
        if self._manifest is None:
            raise InvalidValue("is not in the archive", MANIFEST_FILE)
        for name in self._manifest.files:
            if name not in self._files:
                raise InvalidValue(f"is listed in {MANIFEST_FILE}, but not in the archive", name)
        return self._manifest

    def _publish(self, manifest: Manifest) -> int:
        with self._lock:
            return self._repository.publish_copy(self._name, self._folder, manifest)

    def _begin_file(self, member: Member) -> None:
        name = member.name.removeprefix("./")
        if member.kind == "folder" and name.rstrip("/") in {"", "."}:
            return  # the folder itself, as in `tar -C FOLDER -c .`
        if member.kind != "file":
            raise InvalidValue(f"is a {member.kind}: a bundle has only files", repr(member.name[:100]))
        if not FILE_NAME.fullmatch(name):
            raise InvalidValue(
                "must be a plain file name of letters, digits, '.', '_' and '-', without folders",
                repr(member.name[:100]),
            )
        if name in self._files or (name == MANIFEST_FILE and self._raw_manifest is not None):
            raise InvalidValue("occurs twice in the archive", name)
        if len(self._files) >= MAX_FILES:
            raise TooLarge(f"the archive has over {MAX_FILES} files")
        if name == MANIFEST_FILE:
            if member.n_bytes > MAX_MANIFEST_BYTES:
                raise TooLarge(f"has {member.n_bytes} bytes, limit is {MAX_MANIFEST_BYTES}", name)
            self._raw_manifest = bytearray()
            return
        if self._manifest is not None:
            _compare_size(name, member.n_bytes, self._manifest)
        self._require_space(member.n_bytes)
        self._file = _IncomingFile(self._folder / name, member.n_bytes)

    def _end_file(self) -> None:
        """End the file before the next one, or the last one: all of its bytes have arrived."""
        if self._file is not None:
            file, self._file = self._file, None
            self._files[file.name] = file.end()
            if self._manifest is not None:
                _compare(file.name, self._files[file.name], self._manifest)
        elif self._raw_manifest is not None and self._manifest is None:
            self._manifest = _parsed(bytes(self._raw_manifest))
            self._check(self._manifest)
            for name, entry in self._files.items():
                _compare(name, entry, self._manifest)
            listed = self._manifest.files.items()
            self._require_space(sum(entry.bytes for name, entry in listed if name not in self._files))

    def _require_space(self, n_bytes: int) -> None:
        """Raises RepositoryFull if the file would leave less than the reserve on the disk."""
        disk = shutil.disk_usage(self._folder)
        reserve = min(RESERVE_BYTES, disk.total // RESERVE_SHARE)
        if disk.free - n_bytes < reserve:
            raise RepositoryFull(
                f"the disk of the model repository has {disk.free} bytes left, {n_bytes} more are needed, "
                f"and {reserve} must stay free"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise publish_error(f"cannot write a version of {self._name!r}", error) from error


class BundleUploads:
    """Staging folders of a model repository. Satisfies `diptych.core.push.BundleStaging`."""

    def __init__(self, repository: ModelRepository) -> None:
        self._repository = repository

    @asynccontextmanager
    async def open(self, name: str, check: Check) -> AsyncIterator[BundleUpload]:
        """A staging folder for one version, removed at the end of the block unless it was published."""
        upload = await asyncio.to_thread(BundleUpload, self._repository, name, check)
        try:
            yield upload
        finally:
            await asyncio.shield(asyncio.to_thread(upload.close))


def _parsed(raw: bytes) -> Manifest:
    try:
        return parse_manifest(raw, MANIFEST_FILE)
    except BundleError as error:
        raise InvalidValue(error.message.removeprefix(f"{MANIFEST_FILE}: "), MANIFEST_FILE) from error


def _compare_size(name: str, n_bytes: int, manifest: Manifest) -> FileEntry:
    """The entry of the file in the manifest. Raises InvalidValue if it is not listed, or has another size."""
    expected = manifest.files.get(name)
    if expected is None:
        raise InvalidValue(f"is not listed in {MANIFEST_FILE}", name)
    if n_bytes != expected.bytes:
        raise InvalidValue(f"has {n_bytes} bytes, the manifest says {expected.bytes}", name)
    return expected


def _compare(name: str, found: FileEntry, manifest: Manifest) -> None:
    """Raises InvalidValue if the file is not the one that the manifest lists."""
    expected = _compare_size(name, found.bytes, manifest)
    if found.sha256 != expected.sha256:
        raise InvalidValue(f"sha256 is {found.sha256}, the manifest says {expected.sha256}", name)
