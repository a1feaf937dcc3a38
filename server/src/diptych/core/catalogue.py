"""List the models of the repository, and which of them is served."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.bundle.calibration import Calibration, calibration_file, read_calibration
from diptych.bundle.card import CardFile, read_card, read_card_file
from diptych.bundle.manifest import Manifest, bundle_digest, read_manifest
from diptych.bundle.prompts import with_built_in
from diptych.bundle.repository import ModelRepository
from diptych.core.rollout.ports import Bundles
from diptych.core.serving.version import Version
from diptych.core.tuning.precision import Execution
from diptych.core.types import VersionRef
from diptych.errors import DiptychError, NotFound

WhyNot = Callable[[Manifest], str | None]


@dataclass(frozen=True)
class ModelEntry:
    """One model name. `active` is the version that is served now, as `serving` says.

    Both are None for models that are not served. `ignored` are versions that this machine cannot serve, and
    why; `broken`: entries of its folder that are not versions, such as one that was named by hand, and why.
    `loaded` are versions in memory: the active one, the one before, and those that made the vectors of
    collections. `bundle` is the sha256 of the manifest of `active`; `is_replaced` says that the repository
    has another one under its number by now. `manifest` and `calibration` are those of the active version, or
    else of the latest; None if it has none that can be read.
    """

    name: str
    versions: tuple[int, ...]
    active: int | None
    serving: Execution | None
    ignored: dict[int, str]
    broken: dict[str, str]
    loaded: tuple[int, ...] = ()
    bundle: str | None = None
    is_replaced: bool = False
    manifest: Manifest | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class VersionEntry:
    """One version. Exactly one of `manifest` and `error` is set: a broken version is listed as well.

    `serving` is None unless the version is active. `prompt_sets` are the names that `templates` of a request
    may give. `ignored` says why this machine cannot serve it, None if it can. `calibration` is what searches
    use if the version is loaded; None without one, and where its file is damaged.
    """

    version: int
    active: bool
    serving: Execution | None
    manifest: Manifest | None
    prompt_sets: tuple[str, ...]
    error: str | None
    ignored: str | None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class _Served:
    """The version that is served at the moment of a call, and how; all loaded ones, with calibrations."""

    ref: VersionRef
    execution: Execution
    loaded: Mapping[VersionRef, Calibration | None]

    @classmethod
    def of(cls, version: Version, loaded: Iterable[Version]) -> "_Served":
        running = version.running
        calibrations = {one.ref: one.calibration for one in (version, *loaded)}
        return cls(version.ref, replace(version.execution, running=running), calibrations)

    def loaded_of(self, name: str) -> set[int]:
        return {ref.version for ref in self.loaded if ref.name == name}

    def is_active(self, name: str, version: int) -> bool:
        return (name, version) == (self.ref.name, self.ref.version)


class Catalogue:
    """The content of the model repository, read at each call, and what of it is served."""

    def __init__(
        self,
        repository: ModelRepository,
        active: Callable[[], Version],
        loaded: Callable[[], Iterable[Version]],
        bundles: Bundles,
        why_not: WhyNot,
    ) -> None:
        """`active` returns the version that is served now, `loaded` all that are in memory.

        `bundles` finds the files of those versions, which may have left the repository. `why_not` says why
        this machine cannot serve a version, or returns None.
        """
        self._repository = repository
        self._active = active
        self._loaded = loaded
        self._bundles = bundles
        self._why_not = why_not

    async def models(self) -> list[ModelEntry]:
        """All names that have a version, sorted."""
        return await asyncio.to_thread(self._models, self._now())

    async def broken(self) -> dict[str, str]:
        """Entries of the repository that are not models, by name, with the reason."""
        return await asyncio.to_thread(self._repository.strange_names)

    async def versions(self, name: str) -> list[VersionEntry]:
        """All versions of one name, ascending. Raises NotFound."""
        return await asyncio.to_thread(self._versions, name, self._now())

    async def card(self, name: str, version: int, file: str | None = None) -> CardFile:
        """The model card of a version, or a file that it shows. Raises NotFound, TooLarge, BundleError."""
        return await asyncio.to_thread(self._card, name, version, file, self._now())

    def is_active(self, name: str, version: int) -> bool:
        """Whether this version is served now."""
        return self._now().is_active(name, version)

    def _now(self) -> "_Served":
        return _Served.of(self._active(), self._loaded())

    def _models(self, now: "_Served") -> list[ModelEntry]:
        names = sorted({*self._repository.names(), *(ref.name for ref in now.loaded)})
        return [self._model(name, now) for name in names]

    def _model(self, name: str, now: "_Served") -> ModelEntry:
        versions, broken, ignored = self._numbers(name, now), self._bundles.broken(name), dict[int, str]()
        is_served, shown = name == now.ref.name, None
        for version in versions:
            manifest, error = self._read(name, version, now)
            reason = self._ignored(name, version, manifest, now, broken.pop(str(version), None)) or error
            if reason is not None and not now.is_active(name, version):
                ignored[version] = reason
            if version == (now.ref.version if is_served else versions[-1]):
                shown = manifest
        return ModelEntry(
            name=name,
            versions=versions,
            active=now.ref.version if is_served else None,
            serving=now.execution if is_served else None,
            ignored=ignored,
            broken=broken,
            loaded=tuple(sorted(now.loaded_of(name))),
            bundle=now.ref.bundle if is_served else None,
            is_replaced=is_served and self._is_replaced(now.ref),
            manifest=shown,
            calibration=None if shown is None else self._calibration(shown, now),
        )

    def _is_replaced(self, ref: VersionRef) -> bool:
        with suppress(NotFound, OSError):
            return bundle_digest(self._repository.folder(ref.name, ref.version)) != ref.bundle
        return False

    def _numbers(self, name: str, now: "_Served") -> tuple[int, ...]:
        """The versions of a name, ascending. Raises NotFound."""
        loaded = now.loaded_of(name)
        there = self._repository.versions(name) if not loaded or name in self._repository.names() else []
        return tuple(sorted({*there, *loaded}))

    def _ignored(
        self, name: str, version: int, manifest: Manifest | None, now: "_Served", broken: str | None
    ) -> str | None:
        """Why this machine cannot serve a version that has a manifest."""
        if manifest is None or now.is_active(name, version):
            return None
        return self._why_not(manifest) or broken

    def _versions(self, name: str, now: "_Served") -> list[VersionEntry]:
        broken = self._bundles.broken(name)
        return [
            self._version(name, version, now, broken.get(str(version)))
            for version in self._numbers(name, now)
        ]

    def _version(self, name: str, version: int, now: "_Served", broken: str | None) -> VersionEntry:
        active = now.is_active(name, version)
        manifest, error = self._read(name, version, now)
        return VersionEntry(
            version=version,
            active=active,
            serving=now.execution if active else None,
            manifest=manifest,
            prompt_sets=() if manifest is None else tuple(with_built_in(manifest.text.prompts)),
            error=error,
            ignored=self._ignored(name, version, manifest, now, broken),
            calibration=None if manifest is None else self._calibration(manifest, now),
        )

    def _calibration(self, manifest: Manifest, now: "_Served") -> Calibration | None:
        name, version = manifest.name, manifest.version
        for ref, calibration in now.loaded.items():
            if (ref.name, ref.version) == (name, version):
                return calibration
        with suppress(DiptychError, OSError):
            return read_calibration(calibration_file(self._repository.folder(name, version)), manifest)
        return None

    def _card(self, name: str, version: int, file: str | None, now: "_Served") -> CardFile:
        folder, manifest = self._open(name, version, now)
        return read_card(folder, manifest) if file is None else read_card_file(folder, manifest, file)

    def _read(self, name: str, version: int, now: "_Served") -> tuple[Manifest | None, str | None]:
        """The manifest, or why it cannot be read."""
        try:
            return self._open(name, version, now)[1], None
        except DiptychError as error:
            return None, str(error)

    def _open(self, name: str, version: int, now: "_Served") -> tuple[Path, Manifest]:
        """The folder of a version and its manifest. Raises NotFound, InvalidManifest."""
        for ref in now.loaded:
            if (ref.name, ref.version) == (name, version):
                folder = self._bundles.folder(ref)
                return folder, read_manifest(folder)
        return self._repository.folder(name, version), self._repository.manifest(name, version)
