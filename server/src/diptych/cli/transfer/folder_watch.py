"""Keep a collection in step with a folder, for `diptych add --watch`."""

import hashlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from diptych.cli.remote import ensure_collection
from diptych.cli.transfer.sources import Source, describe, find_images, find_older_ids
from diptych.core.collections.metadata.reserved import file_path
from diptych_client import AddOutcome, Client, NotFound, UnreadableFile
from diptych_client.files import read_file
from diptych_client.images import MAX_BATCH_BYTES

ORIGIN_FIELD = "watch"  # in the metadata of an image: a hash of the machine and folder that it came from
ORIGIN_DIGITS = 16
SEND_AT_ONCE = 64
PAGE = 1_000

Stamp = tuple[int, int, int, int]  # of a file: bytes, times of change, inode
# Called with what was done ("added", "replaced", "deleted", "failed", "left", "skipped"), the file, and why.
OnChange = Callable[[str, str, str], None]


class FolderWatch:
    """Adds new files, replaces changed ones, and deletes the images of files that are gone.

    The id of an image is made of the path of its file inside the folder. Its metadata say that it is of this
    folder; no other image of the collection is ever replaced or deleted. So the server itself knows what a
    former watch has done: a start reads it, and sends only files that differ.
    """

    def __init__(
        self, client: Client, folder: Path, collection: str, *, recursive: bool, on_change: OnChange
    ) -> None:
        self._client = client
        self._folder = folder
        self._collection = collection
        self._recursive = recursive
        self._on_change = on_change
        self._origin = _origin_of(folder)
        self._skipped = set[str]()  # the names of links that lead out of the folder, which were reported
        self._sha256s: dict[str, str] | None = None  # of the images of this folder, by id; None: to be read
        self._max_bytes = 0  # of an image file, as the server takes it
        self._files: dict[str, str] = {}  # the names of their files, by id
        self._seen: dict[str, Stamp] = {}  # by id, at the last look
        self._older_ids: dict[str, str] = {}  # by name; see find_older_ids
        self._known = set[str]()  # the names of which the older ids are known
        self._settled: dict[str, Stamp] = {}  # by id, of files that need nothing until they change
        self.counts = Counter[str]()
        self.trouble = ""  # why nothing is deleted

    @property
    def n_images(self) -> int:
        """The number of images of this folder, as far as it is known."""
        return len(self._sha256s or ())

    def forget(self) -> None:
        """Ask the server again at the next look: it may have lost or gained images."""
        self._sha256s = None
        self._settled.clear()
        self._older_ids.clear()
        self._known.clear()

    def look(self) -> None:
        """Look at the folder once, and do what is needed. Raises ClientError, InvalidValue.

        A file that is still being written is sent once two looks have found it the same.
        """
        if self._sha256s is None:
            ensure_collection(self._client, self._collection)
            self._max_bytes = self._client.version().max_image_bytes or MAX_BATCH_BYTES
            self._sha256s = self._stored()
        sources = self._sources()
        stamps = {
            id: stamp for id, source in sources.items() if (stamp := _stamp_of(source.path)) is not None
        }
        due = [
            sources[id]
            for id, stamp in stamps.items()
            if self._seen.get(id) == stamp and self._settled.get(id) != stamp
        ]
        self._seen = stamps
        for start in range(0, len(due), SEND_AT_ONCE):
            self._send(due[start : start + SEND_AT_ONCE], stamps)
        self._delete_gone(stamps)

    def _sources(self) -> Mapping[str, Source]:
        if not self._folder.is_dir():
            return {}
        files = self._without_links_out(find_images([self._folder], self._recursive))
        found, _ = describe(files, "name", {}, self._older_ids)
        new = [source for source in found if source.name not in self._known]
        if older_ids := find_older_ids(self._client, self._collection, new):
            self._older_ids |= older_ids
            found, _ = describe(files, "name", {}, self._older_ids)
        self._known = {source.name for source in found}
        return {source.id: source for source in found if source.id is not None}

    def _without_links_out(self, files: Sequence[Source]) -> list[Source]:
        """Leave out links to files outside: who may write to the folder must not choose what else is read."""
        inside = os.path.realpath(self._folder)
        out = {
            file.name
            for file in files
            if file.path.is_symlink() and os.path.commonpath([inside, os.path.realpath(file.path)]) != inside
        }
        for name in sorted(out - self._skipped):
            self._report("skipped", name, "the link leads out of the folder")
        self._skipped = out
        return [file for file in files if file.name not in out]

    def _stored(self) -> dict[str, str]:
        """The sha256 of the images that watches of this folder have added, by id."""
        found, after = dict[str, str](), None
        while True:
            page = self._client.list_images(
                self._collection, after=after, limit=PAGE, filter={ORIGIN_FIELD: self._origin}
            )
            found |= {image.id: image.sha256 for image in page.images}
            self._files |= {image.id: file_path(image.metadata) or image.id for image in page.images}
            after = page.next
            if after is None:
                return found

    def _send(self, sources: Sequence[Source], stamps: Mapping[str, Stamp]) -> None:
        assert self._sha256s is not None, "read before"
        fresh, changed = list[Source](), list[Source]()
        digests: dict[str, str] = {}
        for source in sources:
            id = str(source.id)
            digests[id] = _sha256_of(source.path, self._max_bytes)
            if self._sha256s.get(id) == digests[id]:
                self._settled[id] = stamps[id]
            else:
                (changed if id in self._sha256s else fresh).append(source)
        for group, replace in ((fresh, False), (changed, True)):
            if group:
                self._add(group, digests, stamps, replace=replace)

    def _add(
        self,
        sources: Sequence[Source],
        digests: Mapping[str, str],
        stamps: Mapping[str, Stamp],
        *,
        replace: bool,
    ) -> None:
        def done(outcome: AddOutcome) -> None:
            source = sources[outcome.index]
            id = str(source.id)
            self._settled[id] = stamps[id]
            if outcome.status in {"created", "replaced"}:
                assert self._sha256s is not None, "read before"
                self._sha256s[id] = digests[id]
                self._files[id] = source.name
                self._report("added" if outcome.status == "created" else "replaced", source.name)
            elif outcome.status == "failed":
                self._report("failed", source.name, str(outcome.error).removeprefix(f"{source.path}: "))
            elif not replace:
                self._report("left", source.name, "the collection has it from elsewhere")

        self._client.add(
            [source.path for source in sources],
            ids=[source.id for source in sources],
            metadata=[{**(source.metadata or {}), ORIGIN_FIELD: self._origin} for source in sources],
            collection=self._collection,
            replace=replace,
            on_outcome=done,
        )

    def _delete_gone(self, stamps: Mapping[str, Stamp]) -> None:
        """Delete the images of files that are gone, unless all are: so looks a disk that is not mounted."""
        assert self._sha256s is not None, "read before"
        gone = [id for id in self._sha256s if id not in stamps]
        self.trouble = ""
        if gone and not stamps:
            self.trouble = f"{self._folder} has no images: nothing is deleted until it has one again"
            return
        for id in gone:
            try:
                self._client.delete_image(self._collection, id)
            except NotFound:
                self._client.collection(self._collection)  # raises if it is the collection that is gone
            del self._sha256s[id]
            self._settled.pop(id, None)
            self._report("deleted", self._files.pop(id, id))

    def _report(self, change: str, file: str, reason: str = "") -> None:
        self.counts[change] += 1
        self._on_change(change, file, reason)


def _origin_of(folder: Path) -> str:
    """Name this machine and the folder without telling who reads the images what they are called."""
    place = os.fsencode(f"{socket.gethostname()}:{folder.resolve()}")
    return hashlib.sha256(place).hexdigest()[:ORIGIN_DIGITS]


def _stamp_of(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:  # it has just gone
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _sha256_of(file: Path, max_bytes: int) -> str:
    """The sha256 of a file; empty if it cannot be read or is too large, which sending it then reports."""
    content = read_file(file, max_bytes)
    return "" if isinstance(content, UnreadableFile) else hashlib.sha256(content).hexdigest()
