"""Read tar archives of image-text pairs in WebDataset's layout.

Consecutive files with the same name up to the first dot are one pair: ``000017.jpg`` with ``000017.txt`` (its
caption) or ``000017.json`` (captions, or label and keywords).
"""

import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import partial

from diptych.errors import Malformed, TooLarge
from diptych.tar import Member, members
from diptych_training.data.pairs.pair import (
    CAPTION_KEY,
    MAX_TEXT_BYTES,
    NO_CAPTION,
    Entry,
    Pair,
    Texts,
    Unusable,
    require_max_bytes,
    text_of_file,
    texts_of_json,
)
from diptych_training.data.pairs.remote.retry import read_with_retries
from diptych_training.data.pairs.remote.streams import ForwardReader
from diptych_training.data.pairs.remote.unpack import COMPRESSIONS, unpacked

IMAGE_ENDINGS = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic"})
TEXT_ENDING, JSON_ENDING = "txt", "json"
TAR_ENDINGS = (".tar", ".tgz", *(f".tar.{ending}" for ending in COMPRESSIONS if ending != "tgz"))


@dataclass
class _Files:
    """Contents of one pair's files."""

    key: str
    image: bytes | None = None
    text: bytes | None = None
    json: bytes | None = None
    problem: str | None = None


@dataclass(frozen=True)
class TarShard:
    """One archive, at a path or URL, compressed or not. Images over `max_bytes` are unusable."""

    url: str
    prefix: str
    max_bytes: int
    caption_key: str = CAPTION_KEY

    @property
    def location(self) -> str:
        """Path or URL."""
        return self.url

    @property
    def files(self) -> tuple[str, ...]:
        """The archive."""
        return (self.url,)

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """The pairs in order. If the archive is damaged, the last entry says so.

        The pair before the damage is lost too, since it may be incomplete. If the server fails, reading is
        retried from the missing entry; DataError if it keeps failing.
        """
        return read_with_retries(self.url, partial(self._read, with_images=with_images), start, step)

    def _read(self, start: int, step: int, *, with_images: bool) -> Iterator[Entry]:
        wanted = range(start, sys.maxsize, step)
        max_bytes = self.max_bytes if with_images else None
        with unpacked(self.url) as file:
            read = ForwardReader(file)
            n_entries = 0
            try:
                for number, files in enumerate(_grouped(read, wanted, max_bytes)):
                    n_entries = number + 1
                    if number in wanted:
                        yield self._entry(files)
            except (Malformed, TooLarge) as error:
                if n_entries in wanted:
                    yield Unusable(self.prefix, f"{error.message}: the rest is lost")

    def _entry(self, files: _Files) -> Entry:
        name = f"{self.prefix}:{files.key}"
        try:
            if files.problem is not None:
                raise ValueError(files.problem)
            if files.image is None:
                raise ValueError("it has no image")
            return Pair(name, files.image, self._texts(files))
        except ValueError as error:
            return Unusable(name, str(error))

    def _texts(self, files: _Files) -> Texts:
        texts = None if files.json is None else texts_of_json(files.json, self.caption_key)
        if texts is None and files.text is not None:
            texts = text_of_file(files.text)
        if texts is None:
            raise ValueError(NO_CAPTION if files.json is None else "its caption is empty or missing")
        return texts


def pair_key(name: str) -> tuple[str, str]:
    """(key of the pair, extension in lower case) of a file's name in an archive."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _grouped(read: ForwardReader, wanted: range, max_bytes: int | None) -> Iterator[_Files]:
    """Group files by pair. Contents are read only for wanted pairs, and images only up to `max_bytes`.

    With `max_bytes` None, no images are read.
    """
    number, files = -1, _Files("")
    for member in members(read):
        if member.kind != "file":
            continue
        key, ending = pair_key(member.name)
        if ending not in IMAGE_ENDINGS and ending not in (TEXT_ENDING, JSON_ENDING):
            continue
        if _is_hidden(key):
            continue
        if number < 0 or key != files.key:
            if number >= 0:
                yield files
            number, files = number + 1, _Files(key)
        if number in wanted:
            _take(files, member, ending, read, max_bytes)
    if number >= 0:
        yield files


def _take(files: _Files, member: Member, ending: str, read: ForwardReader, max_bytes: int | None) -> None:
    is_image = ending in IMAGE_ENDINGS
    if is_image and max_bytes is None:
        files.image = b""
        return
    try:
        require_max_bytes(
            member.name, member.n_bytes, max_bytes if is_image and max_bytes else MAX_TEXT_BYTES
        )
    except ValueError as error:
        files.problem = str(error)
        return
    content = read.exactly(member.offset, member.n_bytes)
    if is_image:
        files.image = content
    elif ending == JSON_ENDING:
        files.json = content
    else:
        files.text = content


def _is_hidden(key: str) -> bool:
    """True for files that an operating system added, such as ``._000017.jpg``."""
    return key.rpartition("/")[2].startswith("._") or key.rpartition("/")[2] == ""
