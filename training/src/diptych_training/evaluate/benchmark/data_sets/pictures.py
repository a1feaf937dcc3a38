"""Pictures of a data set, prepared for a model on demand: pixels in memory, files, or pairs of a source."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InputError
from diptych_training.data.pairs.image_files import run_isolated
from diptych_training.data.pairs.pair import Pair, Shard
from diptych_training.errors import DataError
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.files import open_regular


class Pictures(Protocol):
    """N pictures in a fixed order."""

    def __len__(self) -> int: ...

    def batches(self, spec: ImageSpec, size: int) -> Iterator[Pixels]:
        """All pictures, prepared as `spec` says, up to `size` at a time: (B, S, S, 3)."""
        ...

    def prepared(self, index: int, spec: ImageSpec) -> Pixels:
        """One picture: (S, S, 3)."""
        ...

    @property
    def content(self) -> str:
        """sha256 over the pictures."""
        ...


@dataclass(frozen=True)
class PixelPictures:
    """Decoded pictures (N, H, W, 3) uint8 RGB, all of one size; they may be memory-mapped."""

    images: Pixels
    chosen: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.images) if self.chosen is None else len(self.chosen)

    def batches(self, spec: ImageSpec, size: int) -> Iterator[Pixels]:
        """As `Pictures.batches`."""
        for start in range(0, len(self), size):
            yield fit_pixels(self._part(slice(start, start + size)), spec)

    def prepared(self, index: int, spec: ImageSpec) -> Pixels:
        """As `Pictures.prepared`."""
        seen: Pixels = fit_pixels(self._part(slice(index, index + 1)), spec)[0]
        return seen

    @cached_property
    def content(self) -> str:
        """As `Pictures.content`."""
        digest = sha256(repr((len(self), self.images.shape[1:])).encode())
        for start in range(0, len(self), 1024):
            digest.update(np.ascontiguousarray(self._part(slice(start, start + 1024))).data)
        return digest.hexdigest()

    def _part(self, part: slice) -> Pixels:
        return np.asarray(self.images[part if self.chosen is None else list(self.chosen[part])])


@dataclass(frozen=True)
class JoinedPictures:
    """Several collections of pictures, one after the other."""

    parts: tuple[Pictures, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def batches(self, spec: ImageSpec, size: int) -> Iterator[Pixels]:
        """As `Pictures.batches`; a batch may be smaller where one collection ends."""
        for part in self.parts:
            yield from part.batches(spec, size)

    def prepared(self, index: int, spec: ImageSpec) -> Pixels:
        """As `Pictures.prepared`."""
        for part in self.parts:
            if index < len(part):
                return part.prepared(index, spec)
            index -= len(part)
        raise IndexError(index)

    @cached_property
    def content(self) -> str:
        """As `Pictures.content`."""
        return sha256("\n".join(part.content for part in self.parts).encode()).hexdigest()


@dataclass(frozen=True)
class ChosenPictures:
    """Some of other pictures, by their numbers in ascending order."""

    pictures: Pictures
    chosen: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.chosen)

    def batches(self, spec: ImageSpec, size: int) -> Iterator[Pixels]:
        """As `Pictures.batches`; a batch may be smaller. All of the pictures are read."""
        start, wanted = 0, np.array(self.chosen)
        for batch in self.pictures.batches(spec, size):
            own = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
            if len(own):
                yield batch[own]
            start += len(batch)

    def prepared(self, index: int, spec: ImageSpec) -> Pixels:
        """As `Pictures.prepared`."""
        return self.pictures.prepared(self.chosen[index], spec)

    @cached_property
    def content(self) -> str:
        """As `Pictures.content`."""
        return sha256(f"{self.pictures.content}\n{self.chosen}".encode()).hexdigest()


@dataclass(frozen=True)
class StoredFile:
    """An image file, or a part of an archive that holds one."""

    path: Path
    offset: int = 0
    n_bytes: int | None = None  # up to the end

    def read(self) -> bytes:
        """The bytes of the image file."""
        with open_regular(self.path) as file:
            file.seek(self.offset)
            return file.read() if self.n_bytes is None else file.read(self.n_bytes)

    def __str__(self) -> str:
        return str(self.path) if self.n_bytes is None else f"{self.path} at byte {self.offset}"


@dataclass(frozen=True)
class FilePictures:
    """Image files, decoded as the server decodes them. DataError naming a file that is not a picture."""

    files: tuple[StoredFile, ...]
    limits: ImageLimits = ImageLimits()  # noqa: RUF009  frozen

    def __len__(self) -> int:
        return len(self.files)

    def batches(self, spec: ImageSpec, size: int) -> Iterator[Pixels]:
        """As `Pictures.batches`."""
        for start in range(0, len(self.files), size):
            yield np.stack([self._load(file, spec) for file in self.files[start : start + size]])

    def prepared(self, index: int, spec: ImageSpec) -> Pixels:
        """As `Pictures.prepared`."""
        return self._load(self.files[index], spec)

    @cached_property
    def content(self) -> str:
        """As `Pictures.content`."""
        digest = sha256()
        for file in self.files:
            digest.update(sha256(file.read()).digest())
        return digest.hexdigest()

    def _load(self, file: StoredFile, spec: ImageSpec) -> Pixels:
        return _decoded(file.read(), str(file), spec, self.limits)


@dataclass(frozen=True)
class PairPictures:
    """The pictures of shards of pairs, read from start to end. DataError naming an unusable one."""

    shards: tuple[Shard, ...]
    n: int
    limits: ImageLimits = ImageLimits()  # noqa: RUF009  frozen

    def __len__(self) -> int:
        return self.n

    def batches(self, spec: ImageSpec, size: int) -> Iterator[Pixels]:
        """As `Pictures.batches`."""
        pairs = self._pairs()
        while batch := list(itertools.islice(pairs, size)):
            yield np.stack([_decoded(pair.image, pair.name, spec, self.limits) for pair in batch])

    def prepared(self, index: int, spec: ImageSpec) -> Pixels:
        """As `Pictures.prepared`; reads all pictures before it."""
        pair = next(itertools.islice(self._pairs(), index, None))
        return _decoded(pair.image, pair.name, spec, self.limits)

    @cached_property
    def content(self) -> str:
        """As `Pictures.content`."""
        digest = sha256()
        for pair in self._pairs():
            digest.update(sha256(pair.image).digest())
        return digest.hexdigest()

    def _pairs(self) -> Iterator[Pair]:
        for shard in self.shards:
            for entry in shard.entries():
                if not isinstance(entry, Pair):
                    raise DataError(f"{entry.name}: {entry.reason}")
                yield entry


def _decoded(payload: bytes, name: str, spec: ImageSpec, limits: ImageLimits) -> Pixels:
    try:
        return run_isolated(load_pixels, payload, spec, limits)
    except InputError as error:
        raise DataError(f"{name}: {error}") from error
