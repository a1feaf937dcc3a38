"""Export and import of collections: what a file says of its rows, and which vectors are exported."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diptych.bundle.repository import ModelRepository
from diptych.core.identities import made_by
from diptych.core.types import Embedding
from diptych.errors import NotFound


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
