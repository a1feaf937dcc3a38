"""Choose the version that is served, and say why this machine cannot serve others."""

from collections.abc import Sequence

from diptych.adapters.files.database_id import DATABASE_ID
from diptych.adapters.sqlite.store import DATABASE
from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError, ConfigError
from diptych.settings import Settings

UNGATED = "it was built ungated, its parity is unknown: see --allow-ungated"


class MachineSupport:
    """Knows which versions this machine can serve. ONNX graphs can be tried anywhere."""

    def __init__(self, *, allow_ungated: bool = False) -> None:
        self._allow_ungated = allow_ungated
        self._refused: dict[tuple[str, int], tuple[Manifest, str]] = {}

    def refuse(self, manifest: Manifest, reason: str) -> None:
        """Record that this version was tried and cannot be served here."""
        self._refused[manifest.name, manifest.version] = manifest, reason

    def why_not_served(self, manifest: Manifest) -> str | None:
        """Return why the version cannot be served here; None if it is worth a try."""
        refused, reason = self._refused.get((manifest.name, manifest.version), (None, ""))
        return reason if refused == manifest else self.why_unsuitable(manifest)

    def why_unsuitable(self, manifest: Manifest) -> str | None:
        """Return why the settings exclude the version, whether or not it was tried; None if not."""
        if manifest.ungated and not self._allow_ungated:
            return UNGATED
        return None


def support_of(settings: Settings) -> MachineSupport:
    """Return what this machine can serve under these settings."""
    return MachineSupport(allow_ungated=settings.allow_ungated)


def chosen_version(settings: Settings, support: MachineSupport) -> tuple[str, int]:
    """Return name and version to serve: the requested version, or the newest that this machine can serve.

    Raises ConfigError when there is none. The error names each version with its reason, or the command to
    run.
    """
    repository, name = ModelRepository(settings.model_repo), settings.model
    if not settings.model_repo.is_dir():
        raise ConfigError(
            f"there is no model repository at {settings.model_repo.absolute()}: "
            "name one with --model-repo, install the package of the default model (diptych-everyday), "
            "or make one with `diptych-train export`"
        )
    names = repository.names()
    if name not in names:
        known = ", ".join(names) or "no model"
        raise ConfigError(
            f"there is no model {name!r} in {settings.model_repo.absolute()}, it holds {known}: "
            f"choose with --model, or make it with `diptych-train export --name {name}`"
        )
    versions = repository.versions(name)
    if settings.version is not None and settings.version not in versions:
        known_versions = ", ".join(map(str, versions))
        raise ConfigError(f"model {name!r} has no version {settings.version}, only {known_versions}")
    candidates = [settings.version] if settings.version is not None else versions[::-1]
    return name, _first_servable(repository, name, candidates, support)


def _first_servable(
    repository: ModelRepository, name: str, versions: Sequence[int], support: MachineSupport
) -> int:
    reasons = []
    for version in versions:
        reason = why_not_served(repository, name, version, support)
        if reason is None:
            return version
        reasons.append(f"{name}/{version} cannot be served here: {reason}")
    raise ConfigError("; ".join(reasons))


def why_not_served(
    repository: ModelRepository, name: str, version: int, support: MachineSupport
) -> str | None:
    """Return why this version cannot be served here; None if it is worth a try."""
    try:
        return support.why_not_served(repository.manifest(name, version))
    except BundleError as error:
        return str(error)


def check_choice(settings: Settings) -> None:
    """Raise ConfigError if a new data folder cannot serve what the settings choose. Loads nothing.

    A data folder with a database remembers what it served, and has a copy of it.
    """
    if not any((settings.data_dir / name).exists() for name in (DATABASE, DATABASE_ID)):
        chosen_version(settings, support_of(settings))
