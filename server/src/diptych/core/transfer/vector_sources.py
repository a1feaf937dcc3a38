"""Which version of a model made the vectors of an identity; knows nothing of where vectors are kept."""

from diptych.bundle.manifest import identity
from diptych.bundle.repository import ModelRepository
from diptych.core.transfer.exchange import VectorSource
from diptych.errors import DiptychError, NotFound

DECODE_MODES = ("exact", "fast")


def makers_of(repository: ModelRepository, name: str) -> dict[str, VectorSource]:
    """All that the repository can serve of a model, by identity, but for versions that cannot be read."""
    found: dict[str, VectorSource] = {}
    try:
        versions = repository.versions(name)
    except NotFound:
        return found
    for version in versions:
        try:
            manifest, folder = repository.manifest(name, version), repository.folder(name, version)
        except DiptychError:
            continue
        for precision in manifest.precisions:
            for decode in DECODE_MODES:
                found[identity(folder, precision, decode)] = VectorSource(name, version, precision, decode)
    return found
