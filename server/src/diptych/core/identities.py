"""The identities of the vectors that the versions of the model repository make.

Earlier releases identified vectors by the manifest of their bundle; those identities are known here, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diptych.bundle.image.preprocess import DecodeMode
from diptych.bundle.manifest import Manifest, bundle_digest, identity, legacy_identity
from diptych.bundle.repository import ModelRepository
from diptych.core.types import IdentitySource, VersionRef
from diptych.errors import DiptychError, NotFound

DECODE_MODES: tuple[DecodeMode, ...] = ("exact", "fast")
MADE_FROM = "made_from"  # key of a manifest's `extra`: the version that had the same graphs


@dataclass(frozen=True)
class Made:
    """What one version makes in one precision and decode mode. `legacy`: the identity in earlier releases."""

    identity: str
    legacy: tuple[str, ...]
    source: IdentitySource


def made_by(repository: ModelRepository, names: Sequence[str] | None = None) -> Iterator[Made]:
    """All vectors that the versions of some names make (None: of all names), the oldest version first.

    Versions that cannot be read are passed over.
    """
    for name in repository.names() if names is None else names:
        for manifest, digest in _readable(repository, name):
            ref, digests = VersionRef(name, manifest.version, digest), (digest, *_made_from(manifest))
            for precision in manifest.precisions:
                for decode in DECODE_MODES:
                    yield Made(
                        identity(manifest, precision, decode),
                        tuple(legacy_identity(one, precision, decode) for one in digests),
                        IdentitySource(ref, precision, decode),
                    )


def legacy_identities(repository: ModelRepository) -> dict[str, tuple[str, IdentitySource]]:
    """Map each identity of earlier releases to today's, and to the newest version that makes its vectors.

    A version that was published again with the same graphs remembers the manifest that it had before, and
    makes the vectors of that one, too.
    """
    today: dict[str, str] = {}
    newest: dict[str, IdentitySource] = {}
    for made in made_by(repository):
        newest[made.identity] = made.source
        for legacy in made.legacy:
            today.setdefault(legacy, made.identity)
    return {legacy: (identity, newest[identity]) for legacy, identity in today.items()}


def _readable(repository: ModelRepository, name: str) -> Iterator[tuple[Manifest, str]]:
    """The manifests of a name's versions, each with its sha256, ascending."""
    try:
        versions = repository.versions(name)
    except NotFound:
        return
    for version in versions:
        try:
            yield repository.manifest(name, version), bundle_digest(repository.folder(name, version))
        except (DiptychError, OSError):
            continue


def _made_from(manifest: Manifest) -> tuple[str, ...]:
    """The sha256 of the manifest that the version was made from with the same graphs, if it names one."""
    origin = manifest.extra.get(MADE_FROM)
    digest = origin.get("manifest_sha256") if isinstance(origin, dict) else None
    return (digest,) if isinstance(digest, str) else ()
