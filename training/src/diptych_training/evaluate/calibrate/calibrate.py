"""Calibrate a published version: embed labelled pictures, fit the maps, write the file."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diptych.bundle.calibration import (
    Calibration,
    QueryKind,
    RelevanceMap,
    calibrated_identity,
    calibration_file,
    write_calibration,
)
from diptych.bundle.repository import ModelRepository
from diptych.errors import DiptychError
from diptych_training.evaluate.calibrate.fit import COHORTS, fit_map, map_error
from diptych_training.evaluate.calibrate.pictures import (
    LabelledPictures,
    embed_pictures,
    n_pictures,
    proof_pictures,
)
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle
from diptych_training.progress import Reporter, progress_bar

TITLES: dict[QueryKind, str] = {"text": "by words", "image": "by an image"}


@dataclass(frozen=True)
class Calibrated:
    """A calibration and its file, and the errors of an earlier one's maps on the same searches."""

    file: Path
    calibration: Calibration
    earlier_errors: Mapping[QueryKind, float]


def calibrate_version(
    repository: ModelRepository,
    name: str,
    version: int,
    data: Path | None = None,
    earlier: Calibration | None = None,
) -> Calibrated:
    """Write the calibration of a version. It replaces that which the version had.

    The maps are fitted on the version's proof set, or else the default model's, and on held-out pictures of
    the packed data set in `data`. `earlier` is the calibration of another version, to compare with. Raises
    NotFound, BundleError, DataError.
    """
    manifest, folder = repository.manifest(name, version), repository.folder(name, version)
    precision = "fp32" if "fp32" in manifest.precisions else min(manifest.precisions)
    model = load_evaluated_bundle(repository, name, version, precision=precision)
    with tempfile.TemporaryDirectory(prefix="diptych-calibrate-") as scratch:
        proof = proof_pictures(repository, folder, Path(scratch), model.image_spec.size)
        with progress_bar(unit="image", total=n_pictures(proof, data), desc="calibrating") as bar:
            pictures = embed_pictures(model, proof, data, bar.update)
    fitted = {
        kind: fit_map(pictures.searches(kind, cohort), pictures.n_bank, cohort)
        for kind, cohort in COHORTS.items()
    }
    maps = {kind: one for kind, one in fitted.items() if one is not None}
    calibration = Calibration(calibrated_identity(manifest), pictures.images[: pictures.n_bank], maps)
    file = calibration_file(folder)
    write_calibration(file, calibration)
    return Calibrated(file, calibration, {} if earlier is None else _errors(earlier, maps, pictures))


def calibrate_published(repository: ModelRepository, name: str, version: int, report: Reporter) -> None:
    """Calibrate a version that was just published, and say how it went: it serves without one, too."""
    try:
        calibration = calibrate_version(repository, name, version).calibration
    except DiptychError as error:
        report(f"{name}/{version} is not calibrated, so that search hits have no relevance: {error}")
    else:
        report(summary(calibration))


def summary(calibration: Calibration) -> str:
    """One line about what was fitted, and how reliable it is."""
    parts = [
        f"{TITLES[kind]} {one.n_queries:,} queries, error {one.error:.3f}"
        + (f", ignored: {one.ignored}" if one.ignored else "")
        for kind, one in calibration.maps.items()
        if one.error is not None
    ]
    missing = [
        f"{TITLES[kind]} too few pictures share a label" for kind in TITLES if kind not in calibration.maps
    ]
    background = f"background of {len(calibration.bank):,} images"
    return f"relevance of searches: {'; '.join([*parts, *missing, background])}"


def _errors(
    earlier: Calibration, maps: Mapping[QueryKind, RelevanceMap], pictures: LabelledPictures
) -> dict[QueryKind, float]:
    """The errors of the earlier maps, of the kinds of queries that have both maps."""
    n_bank = len(earlier.bank)
    return {
        kind: map_error(one, pictures.searches(kind, one.cohort), n_bank)
        for kind, one in earlier.maps.items()
        if kind in maps
    }
