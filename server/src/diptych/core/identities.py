"""The identities of the vectors that the versions of the model repository make."""

from collections.abc import Iterator

from diptych.bundle.image.preprocess import DecodeMode
from diptych.bundle.manifest import Manifest, bundle_digest, identity
from diptych.bundle.repository import ModelRepository
from diptych.core.types import Target, VersionRef
from diptych.errors import DiptychError, NotFound

DECODE_MODES: tuple[DecodeMode, ...] = ("exact", "fast")


def made_by(repository: ModelRepository, name: str) -> Iterator[tuple[str, Target]]:
    """Each identity that the versions of a model make, and what makes it; the oldest version first.

    Versions that cannot be read are passed over.
    """
    for manifest, digest in _readable(repository, name):
        ref = VersionRef(name, manifest.version, digest)
        for precision in manifest.served_precisions:
            for decode in DECODE_MODES:
                yield identity(manifest, precision, decode), Target(ref, precision, decode)


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
