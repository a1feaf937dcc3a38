"""List the models of the repository and say which one is served; knows nothing of loading them."""

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
    """One name of the repository. `active` is the version that answers now, in the precisions of `serving`.

    Both are None for the other names. `ignored` are versions that cannot be served on this machine, and why.
    """

    name: str
    versions: tuple[int, ...]
    active: int | None
    serving: Serving | None
    ignored: dict[int, str]


@dataclass(frozen=True)
class VersionEntry:
    """One version. Exactly one of `manifest` and `error` is set: a broken version is not hidden.

    `serving` is None unless it is active. `prompt_sets` are the names that `templates` of a request may give.
    `ignored` is why this machine cannot serve it, if so.
    """

    version: int
    active: bool
    serving: Serving | None
    manifest: Manifest | None
    prompt_sets: tuple[str, ...]
    error: str | None
    ignored: str | None


class Catalogue:
    """What there is in the model repository, read anew at each call, and what of it runs now."""

    def __init__(
        self,
        repository: ModelRepository,
        served: ModelInfo,
        serving: Serving,
        why_not: WhyNot,
        running: Callable[[], Sequence[Running]],
    ) -> None:
        """`why_not` is what keeps this machine from serving a version, or None."""
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
        """Whether this version answers requests now."""
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
        """The manifest, or why there is none."""
        try:
            return self._repository.manifest(name, version), None
        except DiptychError as error:
            return None, str(error)
