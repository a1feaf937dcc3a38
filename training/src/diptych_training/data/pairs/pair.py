"""What a source gives: an image's bytes with its texts, or why there is none; knows nothing of files."""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, Protocol

from diptych_training.errors import DataError

MAX_TEXT_BYTES = 100_000  # of one caption file: what is longer is no caption
CAPTION_KEY = "caption"
BLANK = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # kinds of signs that show nothing: spaces, controls, marks


@dataclass(frozen=True)
class Texts:
    """The words for one image.

    `captions` are complete ones; with a `label` (its class text, which `keywords` may follow) they are
    further ones. There is at least one text.
    """

    captions: tuple[str, ...] = ()
    label: str | None = None
    keywords: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """The text that stands for the image where one is wanted."""
        return self.captions[0] if self.label is None else self.label

    def all(self) -> Iterator[str]:
        """Every text: what a tokenizer learns from."""
        if self.label is not None:
            yield self.label
        yield from self.keywords
        yield from self.captions


@dataclass(frozen=True)
class Pair:
    """An image file's bytes and its texts. `name` tells it from the others: its source's prefix, and more."""

    name: str
    image: bytes
    texts: Texts


@dataclass(frozen=True)
class Unusable:
    """A place where a pair should be, and why there is none."""

    name: str
    reason: str


Entry = Pair | Unusable


class Shard(Protocol):
    """A part of a source that is read from its start to its end."""

    @property
    def location(self) -> str:
        """Path or URL of its source."""
        ...

    @property
    def prefix(self) -> str:
        """What the names of its pairs begin with, before a colon: that of its source."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Paths or URLs of what it is read from, but for images that a table names."""
        ...

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """One of its entries in `step`, from number `start` on, the same ones every time; the images of the
        others are not fetched, nor those of any without `with_images`: pairs have no bytes then, and their
        images may not be there. What has an excluded name may be `left_out`
        instead, without a look at its image. DataError when it cannot be read."""
        ...


@dataclass(frozen=True)
class EveryNth:
    """A shard of which one entry in `step` is read, from `first` on: a shard that several streams share."""

    shard: Shard
    first: int
    step: int

    @property
    def location(self) -> str:
        """That of the shard."""
        return self.shard.location

    @property
    def prefix(self) -> str:
        """That of the shard."""
        return self.shard.prefix

    @property
    def files(self) -> tuple[str, ...]:
        """Those of the shard."""
        return self.shard.files

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """As `Shard.entries`."""
        first, step = self.first + start * self.step, step * self.step
        return self.shard.entries(first, step, with_images=with_images, excluded=excluded)


@dataclass(frozen=True)
class WithoutImages:
    """A shard whose entries have no images: for what reads texts alone."""

    shard: Shard

    @property
    def location(self) -> str:
        """That of the shard."""
        return self.shard.location

    @property
    def prefix(self) -> str:
        """That of the shard."""
        return self.shard.prefix

    @property
    def files(self) -> tuple[str, ...]:
        """Those of the shard."""
        return self.shard.files

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = False, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """As `Shard.entries`, always without images."""
        return self.shard.entries(start, step, with_images=False, excluded=excluded)


def left_out(name: str) -> Unusable:
    """What stands for a pair whose name is excluded."""
    return Unusable(name, "it is excluded")


def is_blank(text: str) -> bool:
    """Whether nothing of it can be seen: it is empty, or all spaces, controls and marks of no width."""
    return all(unicodedata.category(sign) in BLANK for sign in text)


def texts_of(captions: Iterable[str], label: str | None = None, keywords: Iterable[str] = ()) -> Texts:
    """Texts without the blank ones, which are as if they were not there. ValueError if none is left."""
    kept = tuple(caption.strip() for caption in captions if not is_blank(caption))
    if label is not None and not is_blank(label):
        return Texts(kept, label, tuple(one for one in keywords if not is_blank(one)))
    if not kept:
        raise ValueError(f"its {'caption' if label is None else 'label'} is empty")
    return Texts(captions=kept)


def texts_of_json(payload: bytes, caption_key: str = CAPTION_KEY) -> Texts | None:
    """The texts of a JSON file, or None if it has none but blank ones: ``{"caption": "..."}``, a list,
    or ``{"label": .., "keywords": [..], "captions": [..]}``. ValueError if it is malformed."""
    try:
        row = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its JSON cannot be read: {error}") from None
    if not isinstance(row, dict):
        raise ValueError("its JSON is no object")
    for label in _seen(row, "label"):
        return texts_of(_strings(row, "captions"), label, _strings(row, "keywords"))
    captions = _seen(row, caption_key) or _seen(row, "captions")
    return texts_of(captions) if captions else None


def json_of_texts(texts: Texts) -> bytes:
    """What `texts_of_json` reads back."""
    if texts.label is None:
        row: dict[str, Any] = {"captions": list(texts.captions)}
    else:
        row = {"label": texts.label, "keywords": list(texts.keywords), "captions": list(texts.captions)}
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")


def text_of_file(payload: bytes) -> Texts:
    """The one caption of a text file. ValueError if it is empty, or is not UTF-8."""
    try:
        return texts_of([payload.decode("utf-8-sig")])
    except UnicodeDecodeError:
        raise ValueError("its caption is not UTF-8") from None


def refuse_long(name: str, n_bytes: int, limit: int) -> None:
    """ValueError if a file is larger than its kind may be."""
    if n_bytes > limit:
        raise ValueError(f"{name} has {n_bytes} bytes, limit is {limit}")


def required(shards: list[Shard], what: str) -> list[Shard]:
    """The shards, or DataError if there is none."""
    if not shards:
        raise DataError(f"{what} holds no pairs")
    return shards


def _seen(row: dict[str, Any], key: str) -> list[str]:
    """Those that are not blank."""
    return [text for text in _strings(row, key) if not is_blank(text)]


def _strings(row: dict[str, Any], key: str) -> list[str]:
    value = row.get(key)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise ValueError(f"its JSON key {key!r} is neither a text nor a list of texts")
    return values
