"""Which precisions the versions before an export have: what is made where none are named."""

import re
from contextlib import suppress

from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError, NotFound
from diptych_training.checkpoint import TrainedRun

VERSION = re.compile(r"([^/]+)/([0-9]+)")  # how a run records a version that it started from


def precisions_before(run: TrainedRun, repository: ModelRepository, name: str) -> dict[str, tuple[str, ...]]:
    """The precisions of the version that the run started from and of the newest version of `name`, by their
    titles; none of one that the repository does not have, or cannot read."""
    started_from = [] if run.learned is None else [*run.learned.started_from]
    titles = [title for title in started_from if VERSION.fullmatch(title)]
    with suppress(NotFound, BundleError):  # the first of its name
        titles.append(f"{name}/{repository.latest_portable(name)}")
    return {title: _precisions(repository, title) for title in titles}


def _precisions(repository: ModelRepository, title: str) -> tuple[str, ...]:
    name, number = title.split("/")
    try:
        return tuple(repository.manifest(name, int(number)).precisions)
    except (NotFound, BundleError):
        return ()
