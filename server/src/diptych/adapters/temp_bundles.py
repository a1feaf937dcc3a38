# ruff: noqa: D102
"""Replaced by the adapter for kept bundles."""

from collections.abc import Callable, Sequence
from pathlib import Path

from diptych.bundle.manifest import Manifest, bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych.core.types import VersionRef
from diptych.errors import ConfigError, DiptychError


class KeptBundles:
    """Temporary."""

    def __init__(
        self, data_dir: Path, repository: ModelRepository, why_not: Callable[[Manifest], str | None]
    ) -> None:
        self._repository, self._why_not = repository, why_not

    def names(self) -> list[str]:
        return self._repository.names()

    def newest(self, name: str) -> VersionRef | None:
        if name not in self._repository.names():
            return None
        for v in reversed(self._repository.versions(name)):
            try:
                return self.find(name, v)
            except DiptychError:
                continue
        return None

    def find(self, name: str, version: int) -> VersionRef:
        m = self._repository.manifest(name, version)
        if r := self._why_not(m):
            raise ConfigError(r)
        return VersionRef(name, version, bundle_digest(self._repository.folder(name, version)))

    def keep(self, refs: Sequence[VersionRef]) -> None:
        pass

    def folder(self, ref: VersionRef) -> Path:
        return self._repository.folder(ref.name, ref.version)


class MachineRoom:
    """Temporary."""

    def __init__(self, *a: object) -> None: ...
    def require(self, *, disk_bytes: int, memory_bytes: int) -> None: ...
