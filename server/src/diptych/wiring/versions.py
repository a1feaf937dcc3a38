"""Choose a version of the repository, and refuse what is known wrong without loading it."""

from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from diptych.errors import ConfigError
from diptych.settings import AUTO, Settings


def chosen_version(settings: Settings) -> tuple[str, int]:
    """The name and version to serve. Raises ConfigError that says what to run when there is none."""
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
    version = settings.version or versions[-1]
    if version not in versions:
        raise ConfigError(f"model {name!r} has no version {version}, only {', '.join(map(str, versions))}")
    return name, version


def check_choice(settings: Settings) -> None:
    """Raises ConfigError or InvalidManifest for a choice of model that is known wrong without loading it."""
    manifest = ModelRepository(settings.model_repo).manifest(*chosen_version(settings))
    for precision in (settings.precision, settings.collection_precision):
        _require_precision(manifest, precision)
    if manifest.ungated and not settings.allow_ungated:
        raise ConfigError(
            f"{manifest.name}/{manifest.version} was built ungated, its parity is unknown: "
            "see --allow-ungated"
        )


def _require_precision(manifest: Manifest, precision: str) -> None:
    if precision != AUTO and precision not in manifest.precisions:
        known = ", ".join(manifest.precisions)
        raise ConfigError(f"{manifest.name}/{manifest.version} has no precision {precision!r}, only {known}")
