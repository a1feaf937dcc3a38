"""Choose a version of the repository, and refuse what is known wrong without loading it."""

from collections.abc import Sequence

from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError, ConfigError
from diptych.settings import Settings
from diptych.wiring.loading.compatibility import MachineSupport


def here_of(settings: Settings) -> MachineSupport:
    """What this machine can serve, as far as the settings let it."""
    precisions = (settings.precision, settings.collection_precision)
    return MachineSupport(settings.device, precisions, allow_ungated=settings.allow_ungated)


def chosen_version(settings: Settings, here: MachineSupport) -> tuple[str, int]:
    """The name and version to serve: the newest that can be served here, or the one that is asked for.

    Raises ConfigError when there is none: it names each version and why, or says what to run.
    """
    repository, name = ModelRepository(settings.model_repo), settings.model
    if not settings.model_repo.is_dir():
        raise ConfigError(
            f"there is no model repository at {settings.model_repo.absolute()}: "
            "name one with --model-repo, or make one with `diptych-train export`"
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
        there = ", ".join(map(str, versions))
        raise ConfigError(f"model {name!r} has no version {settings.version}, only {there}")
    asked = [settings.version] if settings.version is not None else versions[::-1]
    return name, _first_servable(repository, name, asked, here)


def _first_servable(
    repository: ModelRepository, name: str, versions: Sequence[int], here: MachineSupport
) -> int:
    reasons = []
    for version in versions:
        reason = why_not_served(repository, name, version, here)
        if reason is None:
            return version
        reasons.append(f"{name}/{version} cannot be served here: {reason}")
    raise ConfigError("; ".join(reasons))


def why_not_served(repository: ModelRepository, name: str, version: int, here: MachineSupport) -> str | None:
    """Why this version cannot be served here, such as a manifest that cannot be read; None if it may be."""
    try:
        return here.why_not(repository.manifest(name, version))
    except BundleError as error:
        return str(error)


def check_choice(settings: Settings) -> None:
    """Raises ConfigError for a choice of model that is known wrong without loading it."""
    chosen_version(settings, here_of(settings))
