"""Load the version that a server serves first: what it served last, or one that the settings choose."""

import logging
from dataclasses import replace
from functools import partial

from diptych.bundle.manifest import bundle_digest
from diptych.bundle.repository import SHIPPED_NAME, ModelRepository
from diptych.core.rollout.types import ServedVersions
from diptych.core.serving.version import Version
from diptych.core.types import Target, VersionRef
from diptych.errors import (
    BundleError,
    ConfigError,
    CorruptBundle,
    DiptychError,
    EncoderFailed,
    InvalidManifest,
    NotFound,
)
from diptych.settings import AUTO, Settings
from diptych.wiring.loading.version_choice import MachineSupport, chosen_version, why_not_served
from diptych.wiring.version_loader import VersionLoader

LOG = logging.getLogger("diptych.versions")
ANOTHER_PRECISION = "another precision can be named with --precision"


def load_first_version(
    settings: Settings,
    repository: ModelRepository,
    support: MachineSupport,
    served: ServedVersions | None,
    loader: VersionLoader,
) -> Version:
    """Load what the data folder served last, in its precision; for a new one what the settings choose.

    If its files are damaged or missing, a sound version is loaded instead; a read-only server could not make
    vectors of another one. If this machine cannot run the recorded precision, another one that the settings
    name is loaded. Any other failure is one of this machine, and stays an error. Raises BundleError,
    EncoderFailed, ConfigError, NotFound.
    """
    if served is None:
        return _load_newest(settings, repository, support, loader, settings.precision)
    active = served.active
    if active.precision == AUTO:  # a converted data folder without vectors records none
        active = replace(active, precision=settings.precision)
    elif settings.read_only and settings.precision not in {AUTO, active.precision}:
        LOG.warning(
            "%s is served, not %s as the settings say: a read-only server embeds nothing again",
            active,
            settings.precision,
        )
    if settings.originals is not None:
        _warn_of_not_followed(settings, active)
    try:
        return loader.load(active)
    except (CorruptBundle, InvalidManifest, NotFound) as error:
        damage = f"{active.ref}, which was served last, is damaged: {error}"
        if settings.read_only:
            raise CorruptBundle(
                f"{damage}; a read-only server serves no other version: restore the files of this one, "
                "or start a server that may write to the data folder"
            ) from error
        LOG.error("%s; restore its files, restart, and activate it again", damage)
    except (BundleError, EncoderFailed) as error:
        return _load_in_another_precision(settings, active, loader, error)
    return _load_instead(served, settings, repository, support, loader)


def _warn_of_not_followed(settings: Settings, active: Target) -> None:
    """Name the settings that a server does not follow, as all servers of its database serve one version."""
    named = (
        ("--version", settings.version, (None, active.ref.version)),
        ("--precision", settings.precision, (AUTO, active.precision)),
    )
    if unfollowed := [f"{flag} {value}" for flag, value, fitting in named if value not in fitting]:
        LOG.warning(
            "the database records %s, which all of its servers serve: %s is not followed while there are "
            "others; activate on any server what all are to serve",
            active.exact,
            " and ".join(unfollowed),
        )


def _load_in_another_precision(
    settings: Settings, active: Target, loader: VersionLoader, error: DiptychError
) -> Version:
    """Load the precision that the settings name in place of one that this machine cannot run."""
    if settings.precision in {AUTO, active.precision} or settings.read_only:
        advice = ANOTHER_PRECISION
        if settings.read_only:
            advice = (
                "a read-only server moves to no other precision: use a machine that runs this one, or start "
                "a server with --precision that may write to the data folder"
            )
        raise ConfigError(
            f"{active}, which the data folder records, cannot be served on this machine: {error.message}; "
            f"{advice}"
        ) from error
    LOG.error("%s, which was served last, cannot be served on this machine: %s", active, error)
    return loader.load(replace(active, precision=settings.precision))


def _load_instead(
    served: ServedVersions,
    settings: Settings,
    repository: ModelRepository,
    support: MachineSupport,
    loader: VersionLoader,
) -> Version:
    """Load the newest sound version of the damaged one's model; or else what served before, or the newest
    sound version of the model that the settings name, or of the default model.

    `--version` does not count: it may name the damaged one. Raises ConfigError if no version is sound.
    """
    damaged = served.active.ref

    def newest_of(name: str) -> Version:
        choice = settings.model_copy(update={"model": name, "version": None})
        return _load_newest(choice, repository, support, loader, served.wanted)

    loads = [partial(newest_of, name) for name in (damaged.name, settings.model, SHIPPED_NAME)]
    if served.previous is not None:
        loads.insert(1, partial(loader.load, served.previous))
    failures = list[str]()
    for load in loads:
        try:
            version = load()
        except (BundleError, EncoderFailed, ConfigError, NotFound) as error:
            failures.append(str(error))
        else:
            LOG.error("%s is served instead of %s, which is damaged", version.ref, damaged)
            return version
    reasons = "; ".join(dict.fromkeys(failures))
    raise ConfigError(f"{damaged}, which was served last, is damaged, and: {reasons}")


def _load_newest(
    settings: Settings,
    repository: ModelRepository,
    support: MachineSupport,
    loader: VersionLoader,
    precision: str,
) -> Version:
    """Load the requested version, or else the newest one that this machine can serve, in this precision if it
    has it.

    When a version fails to load, `support` records the reason and the next older version is tried.
    """
    while True:
        name, number = chosen_version(settings, support)
        try:
            version = loader.load(_target(settings, repository, name, number, precision))
        except (BundleError, EncoderFailed) as error:
            refused = error
            if error.item == precision:  # the named precision fails, not the version
                refused = type(error)(f"{error.message}; {ANOTHER_PRECISION}", precision)
            if settings.version is not None:
                raise refused from error
            support.refuse(repository.manifest(name, number), str(refused))
            continue
        _log_ignored_versions(repository, version.ref, support)
        return version


def _target(
    settings: Settings, repository: ModelRepository, name: str, version: int, precision: str
) -> Target:
    """Raises BundleError, NotFound."""
    there = repository.manifest(name, version).served_precisions
    if precision not in {AUTO, *there}:
        LOG.warning("%s/%d has no precision %s: it is served in %s", name, version, precision, there[0])
        precision = there[0]
    return Target(_ref(repository, name, version), precision, settings.decode)


def _ref(repository: ModelRepository, name: str, version: int) -> VersionRef:
    """Raises BundleError, NotFound."""
    try:
        return VersionRef(name, version, bundle_digest(repository.folder(name, version)))
    except OSError as error:
        raise BundleError(f"{name}/{version}: its manifest cannot be read: {error.strerror}") from error


def _log_ignored_versions(repository: ModelRepository, served: VersionRef, support: MachineSupport) -> None:
    """Log each version newer than the loaded one, with the reason why it is not served."""
    for version in repository.versions(served.name):
        if version > served.version and (reason := why_not_served(repository, served.name, version, support)):
            LOG.warning("%s/%d is ignored, %s is served instead: %s", served.name, version, served, reason)
