"""Fit the relevance of search hits again, for the scores of the published version."""

from collections.abc import Mapping

from diptych.bundle.calibration import (
    Calibration,
    QueryKind,
    RelevanceMap,
    calibration_file,
    read_calibration,
)
from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError, DiptychError
from diptych_training.data.packed import read_dataset
from diptych_training.evaluate.calibrate.calibrate import TITLES, calibrate_version
from diptych_training.refresh.evaluation.picture_set import SPLIT
from diptych_training.refresh.ledger import Published, RefreshFolder
from diptych_training.refresh.start import Start

ALL_LEARNED = ", not on yours: the model has learned from all of them, and would look surer than it is"


def recalibrate(
    repository: ModelRepository, published: Published, folder: RefreshFolder, start: Start
) -> str:
    """Calibrate the version on its proof set and on the user's held-out pairs; describe what it brought.

    The description has the calibration error before, with the maps of the version that the refresh started
    from, and now. A version that cannot be calibrated serves too, without relevance.
    """
    own = read_dataset(folder.own)
    n_own = sum(entry.n for _, entry in own.listed(SPLIT))
    try:
        found = calibrate_version(
            repository,
            published.name,
            published.version,
            folder.own if n_own else None,
            _of_start(repository, start),
        )
    except DiptychError as error:
        return f"Relevance of search hits: none, the version is not calibrated: {error}"
    return relevance_text(found.calibration.maps, found.earlier_errors, start.title, n_own)


def relevance_text(
    maps: Mapping[QueryKind, RelevanceMap], earlier: Mapping[QueryKind, float], old_name: str, n_own: int
) -> str:
    """The calibration errors of the maps, and those with the earlier maps."""
    if not maps:
        return "Relevance of search hits: none, too few pictures share a label."
    parts = []
    for kind, one in maps.items():
        before = f"{earlier[kind]:.3f}" if kind in earlier else "none"
        ignored = f", ignored: {one.ignored}" if one.ignored else ""
        parts.append(f"{TITLES[kind]} {before} and {one.error:.3f} ({one.n_queries:,} queries{ignored})")
    own = f" and {n_own:,} held-out ones of yours" if n_own else ALL_LEARNED
    return (
        f"Relevance of search hits is fitted again, on the shipped pairs{own}. Its calibration error with "
        f"the maps of {old_name}, and now: {'; '.join(parts)}."
    )


def _of_start(repository: ModelRepository, start: Start) -> Calibration | None:
    """The calibration of the version that the refresh started from; None if it has none that can be read."""
    manifest = start.manifest
    try:
        return read_calibration(
            calibration_file(repository.folder(manifest.name, manifest.version)), manifest
        )
    except (FileNotFoundError, BundleError):
        return None
