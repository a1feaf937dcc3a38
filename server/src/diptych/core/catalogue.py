"""List the models of the repository, and which of them is served."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from diptych.bundle.manifest import Manifest
from diptych.bundle.prompts import with_built_in
from diptych.bundle.repository import ModelRepository
from diptych.core.tuning.precision import Running, Serving
from diptych.core.types import ModelInfo
from diptych.errors import DiptychError

WhyNot = Callable[[Manifest], str | None]


@dataclass(frozen=True)
class ModelEntry:
    """One model name. `active` is the version that is served now, in the precisions of `serving`.

    Both are None for models that are not served. `ignored` are versions that this machine cannot serve, and
    why.
    """

    name: str
    versions: tuple[int, ...]
    active: int | None
    serving: Serving | None
    ignored: dict[int, str]


@dataclass(frozen=True)
class VersionEntry:
    """One version. Exactly one of `manifest` and `error` is set: a broken version is listed as well.

    `serving` is None unless the version is active. `prompt_sets` are the names that `templates` of a request
    may give. `ignored` says why this machine cannot serve it, None if it can.
    """

    version: int
    active: bool
    serving: Serving | None
    manifest: Manifest | None
    prompt_sets: tuple[str, ...]
    error: str | None
    ignored: str | None


class Catalogue:
    """The content of the model repository, read at each call, and what of it is served."""

    def __init__(
        self,
        repository: ModelRepository,
        served: ModelInfo,
        serving: Serving,
        why_not: WhyNot,
        running: Callable[[], Sequence[Running]],
    ) -> None:
        """`why_not` says why this machine cannot serve a version, or returns None."""
        self._why_not = why_not
        self._running = running
        self._repository = repository
        self._served = served
        self._serving = serving

    async def models(self) -> list[ModelEntry]:
        """All names that have a version, sorted."""
        return await asyncio.to_thread(self._models, self._now())

    async def versions(self, name: str) -> list[VersionEntry]:
        """All versions of one name, ascending. Raises NotFound."""
        return await asyncio.to_thread(self._versions, name, self._now())

    def is_active(self, name: str, version: int) -> bool:
        """Whether this version is served now."""
        return (name, version) == (self._served.name, self._served.version)

    def _now(self) -> Serving:
        return replace(self._serving, running=tuple(self._running()))

    def _models(self, serving: Serving) -> list[ModelEntry]:
        return [self._model(name, serving) for name in self._repository.names()]

    def _model(self, name: str, serving: Serving) -> ModelEntry:
        versions = tuple(self._repository.versions(name))
        ignored = {version: reason for version in versions if (reason := self._ignored(name, version))}
        if name != self._served.name:
            return ModelEntry(name, versions, None, None, ignored)
        return ModelEntry(name, versions, self._served.version, serving, ignored)

    def _ignored(self, name: str, version: int) -> str | None:
        manifest, error = self._read(name, version)
        return error if manifest is None else self._why_not(manifest)

    def _versions(self, name: str, serving: Serving) -> list[VersionEntry]:
        return [self._version(name, version, serving) for version in self._repository.versions(name)]

    def _version(self, name: str, version: int, serving: Serving) -> VersionEntry:
        active = self.is_active(name, version)
        manifest, error = self._read(name, version)
        return VersionEntry(
            version=version,
            active=active,
            serving=serving if active else None,
            manifest=manifest,
            prompt_sets=() if manifest is None else tuple(with_built_in(manifest.text.prompts)),
            error=error,
            ignored=None if manifest is None else self._why_not(manifest),
        )

    def _read(self, name: str, version: int) -> tuple[Manifest | None, str | None]:
        """The manifest, or why it cannot be read."""
        try:
            return self._repository.manifest(name, version), None
        except DiptychError as error:
            return None, str(error)
