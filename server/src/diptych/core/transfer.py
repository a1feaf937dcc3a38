"""Export and import of collections: what a file says of its rows, and which vectors are exported."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.bundle.repository import ModelRepository
from diptych.core.identities import made_by
from diptych.core.types import Embedding, Keep, Metadata, TextFields
from diptych.errors import NotFound

FLOAT = np.dtype("<f4")


@dataclass(frozen=True)
class VectorSource:
    """The source of vectors: a version of a model, in one precision, with one way of decoding images."""

    name: str
    version: int
    precision: str
    decode: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version} ({self.precision}, {self.decode} decoding)"


@dataclass(frozen=True)
class Heading:
    """The header of an exported file, by key."""

    collection: str
    maker: VectorSource
    identity: str
    embed_dim: int


@dataclass(frozen=True)
class Row:
    """One image of a collection. `metadata` is JSON; `created_at` is ISO 8601.

    In a file by another program, `sha256` and `created_at` may be empty. `embedding` is None if this source
    has made none, `image` if its file is not kept or not wanted.
    """

    id: str
    sha256: str
    media_type: str
    width: int
    height: int
    metadata: str
    created_at: str
    embedding: Embedding | None
    image: bytes | None = None


@dataclass(frozen=True)
class LostRow:
    """A row that a damaged file no longer gives; named by its id, or by its position where the id is lost."""

    name: str
    reason: str


@dataclass(frozen=True)
class Setup:
    """What a collection is set to."""

    name: str
    keep: Keep
    text_fields: TextFields


@dataclass(frozen=True)
class ExportedVerdict:
    """What a person said of a picture, named by an image that has its bytes."""

    id: str
    labels: tuple[str, ...]
    is_drawn: bool
    sha256: str


@dataclass(frozen=True)
class ExportedLabelSet:
    """A label set with its verdicts. `definition`: see `core.labels.label_set.Definition.to_json`."""

    name: str
    definition: Metadata
    verdicts: tuple[ExportedVerdict, ...]


@dataclass(frozen=True)
class ExportedCollection:
    """One of all collections that were exported; its rows are in a file of its name, if it has any.

    `n_with_image` rows have their image in the file; `digest` is that of a `RowDigest` of all.
    """

    setup: Setup
    n_images: int
    n_with_image: int
    digest: str
    label_sets: tuple[ExportedLabelSet, ...]


class RowDigest:
    """A digest of rows, in whatever order: their ids, contents and metadata.

    The content is the sha256 of the image. A row without one becomes a ready-made vector, whose sha256 is
    that of its numbers.
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, row: Row) -> None:
        """Add a row as an import of it is stored."""
        sha256 = row.sha256
        if row.image is None and row.embedding is not None:
            sha256 = hashlib.sha256(np.ascontiguousarray(row.embedding, FLOAT).tobytes()).hexdigest()
        self.add_stored(row.id, sha256, json.loads(row.metadata), is_image=row.image is not None)

    def add_stored(self, id: str, sha256: str, metadata: Metadata, *, is_image: bool) -> None:
        """Add a row that a server has. The EXIF of an image is what the server reads from its file."""
        if is_image:
            metadata = {name: value for name, value in metadata.items() if name != "exif"}
        text = json.dumps([id, sha256, metadata], sort_keys=True, ensure_ascii=False)
        self._sum += int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        self._sum %= 1 << 256

    def __str__(self) -> str:
        return f"{self._sum:064x}"


@dataclass(frozen=True)
class SourceFilter:
    """Selects the sources whose vectors are exported; None admits all."""

    version: int | None = None
    precision: str | None = None
    decode: str | None = None

    def admits(self, source: VectorSource) -> bool:
        """Whether vectors of this source are wanted."""
        return (
            self.version in {None, source.version}
            and self.precision in {None, source.precision}
            and self.decode in {None, source.decode}
        )


ANY_SOURCE = SourceFilter()


def chosen_identity(
    collection: str,
    n_vectors: Mapping[str, int],
    sources: Mapping[str, VectorSource],
    wanted: SourceFilter,
) -> str:
    """The identity that `wanted` admits and that has the most vectors; ties go to the newest version.

    `n_vectors` counts the collection's vectors by identity. Raises NotFound that names the available sources.
    """
    known = {identity: sources[identity] for identity in n_vectors if identity in sources}
    meant = [identity for identity, source in known.items() if wanted.admits(source)]
    if meant:
        return max(meant, key=lambda one: (n_vectors[one], known[one].version))
    if not n_vectors:
        raise NotFound(f"collection {collection!r} holds no vectors")
    if known:
        raise NotFound(
            f"collection {collection!r} has no such vectors, but those of {_listed(known.values())}"
        )
    there = _listed(sources.values()) or "none of its model"
    raise NotFound(
        f"collection {collection!r} has {max(n_vectors.values())} vectors of a version that is not in the "
        f"model repository, which has {there}: name the one with --model-repo"
    )


def _listed(sources: Iterable[VectorSource]) -> str:
    named: Sequence[str] = sorted(map(str, sources))
    return ", ".join(named[:8]) + (" ..." if len(named) > 8 else "")


def vector_sources(
    repository: ModelRepository, name: str, wanted: SourceFilter = ANY_SOURCE
) -> dict[str, VectorSource]:
    """The source of the vectors of each identity of a model, as far as its versions can be read.

    Several versions may make the same vectors: one that is `wanted` is named, else the newest.
    """
    found: dict[str, VectorSource] = {}
    for identity, target in made_by(repository, name):
        source = VectorSource(name, target.ref.version, target.precision, target.decode)
        if identity not in found or wanted.admits(source) or not wanted.admits(found[identity]):
            found[identity] = source
    return found
