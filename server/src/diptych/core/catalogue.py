"""List the models of the repository and say which one is served; knows nothing of loading them."""

import asyncio
from dataclasses import dataclass

from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from diptych.core.types import ModelInfo
from diptych.errors import DiptychError


@dataclass(frozen=True)
class ModelEntry:
    """One name of the repository. `active` is the version that answers now, None for the other names."""

    name: str
    versions: tuple[int, ...]
    active: int | None


@dataclass(frozen=True)
class VersionEntry:
    """One version. Exactly one of `manifest` and `error` is set: a broken version is not hidden."""

    version: int
    active: bool
    manifest: Manifest | None
    error: str | None


class Catalogue:
    """What there is in the model repository, read anew at each call."""

    def __init__(self, repository: ModelRepository, served: ModelInfo) -> None:
        self._repository = repository
        self._served = served

    async def models(self) -> list[ModelEntry]:
        """All names that have a version, sorted."""
        return await asyncio.to_thread(self._models)

    async def versions(self, name: str) -> list[VersionEntry]:
        """All versions of one name, ascending. Raises NotFound."""
        return await asyncio.to_thread(self._versions, name)

    def is_active(self, name: str, version: int) -> bool:
        """Whether this version answers requests now."""
        return (name, version) == (self._served.name, self._served.version)

    def _models(self) -> list[ModelEntry]:
        return [
            ModelEntry(
                name=name,
                versions=tuple(self._repository.versions(name)),
                active=self._served.version if name == self._served.name else None,
            )
            for name in self._repository.names()
        ]

    def _versions(self, name: str) -> list[VersionEntry]:
        return [self._version(name, version) for version in self._repository.versions(name)]

    def _version(self, name: str, version: int) -> VersionEntry:
        active = self.is_active(name, version)
        try:
            return VersionEntry(version, active, self._repository.manifest(name, version), None)
        except DiptychError as error:
            return VersionEntry(version, active, None, str(error))
