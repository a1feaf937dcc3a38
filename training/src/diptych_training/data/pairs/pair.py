"""Types of image-text pairs, unusable entries and shards."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from diptych_training.errors import DataError

MAX_TEXT_BYTES = 100_000  # limit of one caption file
CAPTION_KEY = "caption"
NO_TEXT_FILE = "it has no text file next to it"
NAMES_IGNORED = ", and the name of its folder is no caption, since there is the text file "
NO_CAPTION = "it has no caption"
BLANK = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # Unicode categories of invisible characters


# Where the texts of an image come from.
Origin = Literal[
    "text files", "JSON files", "XMP", "IPTC", "folder names", "tables", "JSON Lines", "packed data sets"
]


@dataclass(frozen=True)
class Texts:
    """The texts of one image; at least one.

    `captions` are complete texts. `label` is a class text, which `keywords` may follow.
    """

    captions: tuple[str, ...] = ()
    label: str | None = None
    keywords: tuple[str, ...] = ()
    origin: Origin = field(default="text files", compare=False)

    @property
    def first(self) -> str:
        """The text to use where only one is needed."""
        return self.captions[0] if self.label is None else self.label

    def all(self) -> Iterator[str]:
        """Every text, for training a tokenizer."""
        if self.label is not None:
            yield self.label
        yield from self.keywords
        yield from self.captions


@dataclass(frozen=True)
class Pair:
    """An image file's bytes and its texts. `name` is unique and begins with its source's prefix."""

    name: str
    image: bytes
    texts: Texts


@dataclass(frozen=True)
class Unusable:
    """An entry without a usable pair, and the reason."""

    name: str
    reason: str


Entry = Pair | Unusable


class Shard(Protocol):
    """A part of a source, which is read from start to end."""

    @property
    def location(self) -> str:
        """Path or URL of its source."""
        ...

    @property
    def prefix(self) -> str:
        """The source's prefix, with which the names of its pairs begin, before a colon."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Paths or URLs of the files that it is read from, except images that a table names."""
        ...

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """Every `step`-th entry from number `start` on, always the same ones.

        Images of other entries are not fetched. Without `with_images` no images are fetched: pairs have empty
        bytes, and their images may not exist. An entry with an excluded name may be an `excluded_entry`,
        whose image is not read. DataError if the shard cannot be read.
        """
        ...


@dataclass(frozen=True)
class _ShardView:
    """A shard of which only a part is read."""

    shard: Shard

    @property
    def location(self) -> str:
        """The location of the shard."""
        return self.shard.location

    @property
    def prefix(self) -> str:
        """The prefix of the shard."""
        return self.shard.prefix

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the shard."""
        return self.shard.files


@dataclass(frozen=True)
class EveryNth(_ShardView):
    """Every `step`-th entry of a shard from `first` on, for a shard that several streams share."""

    first: int
    step: int

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """As `Shard.entries`."""
        first, step = self.first + start * self.step, step * self.step
        return self.shard.entries(first, step, with_images=with_images, excluded=excluded)


@dataclass(frozen=True)
class WithoutImages(_ShardView):
    """A shard that is read without images, for uses that need only texts."""

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = False, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """As `Shard.entries`, always without images."""
        return self.shard.entries(start, step, with_images=False, excluded=excluded)


def excluded_entry(name: str) -> Unusable:
    """The entry for a pair whose name is excluded."""
    return Unusable(name, "it is excluded")


def reason_category(reason: str) -> str:
    """A reason without the numbers that differ between entries, at most 100 characters."""
    return re.sub(r"(?<!UTF-)\d+", "N", reason)[:100]


def is_blank(text: str) -> bool:
    """True if the text is empty or has only invisible characters: spaces, controls, zero-width marks."""
    return all(unicodedata.category(sign) in BLANK for sign in text)


def texts_of(
    captions: Iterable[str],
    label: str | None = None,
    keywords: Iterable[str] = (),
    *,
    origin: Origin = "text files",
) -> Texts:
    """Make Texts, ignoring blank texts. ValueError if none is left."""
    kept = tuple(caption.strip() for caption in captions if not is_blank(caption))
    if label is not None and not is_blank(label):
        return Texts(kept, label, tuple(one for one in keywords if not is_blank(one)), origin)
    if not kept:
        raise ValueError(f"its {'caption' if label is None else 'label'} is empty")
    return Texts(captions=kept, origin=origin)


def texts_of_json(payload: bytes, caption_key: str = CAPTION_KEY) -> Texts | None:
    """The texts of a JSON file, or None if all are blank. ValueError if it is malformed.

    Either ``{"caption": ".."}``, where the value may be a list, or
    ``{"label": .., "keywords": [..], "captions": [..]}``.
    """
    try:
        row = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its JSON cannot be read: {error}") from None
    return texts_of_row(row, caption_key, "JSON files")


def texts_of_row(row: object, caption_key: str, origin: Origin) -> Texts | None:
    """The texts of a JSON object, or None if all are blank. ValueError if it is none, or has other values."""
    if not isinstance(row, dict):
        raise ValueError(f"its JSON is not an object but {row!r:.40}")
    for label in _visible_strings(row, "label"):
        return texts_of(strings_of(row, "captions"), label, strings_of(row, "keywords"), origin=origin)
    captions = _visible_strings(row, caption_key) or _visible_strings(row, "captions")
    return texts_of(captions, origin=origin) if captions else None


def json_of_texts(texts: Texts) -> bytes:
    """JSON that `texts_of_json` reads."""
    if texts.label is None:
        row: dict[str, Any] = {"captions": list(texts.captions)}
    else:
        row = {"label": texts.label, "keywords": list(texts.keywords), "captions": list(texts.captions)}
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")


def text_of_file(payload: bytes) -> Texts:
    """The caption of a text file. ValueError if it is empty or not UTF-8."""
    try:
        return texts_of([payload.decode("utf-8-sig")])
    except UnicodeDecodeError:
        raise ValueError("its caption is not UTF-8") from None


def require_max_bytes(name: str, n_bytes: int, limit: int) -> None:
    """Raise ValueError if a file is larger than the limit."""
    if n_bytes > limit:
        raise ValueError(f"{name} has {n_bytes} bytes, limit is {limit}")


def require_shards(shards: list[Shard], what: str) -> list[Shard]:
    """Return the shards; DataError if there is none."""
    if not shards:
        raise DataError(f"{what} holds no pairs")
    return shards


def _visible_strings(row: dict[str, Any], key: str) -> list[str]:
    """The texts of a key that are not blank."""
    return [text for text in strings_of(row, key) if not is_blank(text)]


def strings_of(row: dict[str, Any], key: str) -> list[str]:
    """The text or texts of a key, none if it is missing. ValueError for another value."""
    value = row.get(key)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise ValueError(f"its JSON key {key!r} is {value!r:.40}, neither a text nor a list of texts")
    return values
