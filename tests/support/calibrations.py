"""Calibrations of the tiny model, made by hand."""

from pathlib import Path

import numpy as np

from diptych.bundle.calibration import (
    Calibration,
    QueryKind,
    RelevanceMap,
    calibrated_identity,
    calibration_file,
    write_calibration,
)
from diptych.bundle.repository import ModelRepository
from support.tiny_bundle import TINY

MAP = RelevanceMap(floor=2.0, width=1.0, slope=2.0, growth=0.3, error=0.04, n_queries=60)


def write_tiny_calibration(
    model_repo: Path,
    version: int = 1,
    *,
    kinds: tuple[QueryKind, ...] = ("text",),
    of: int | None = None,
    relevance: RelevanceMap = MAP,
) -> Path:
    """Write a calibration beside a version; `of` names the version whose vectors it says it is for."""
    repository = ModelRepository(model_repo)
    manifest = repository.manifest(TINY, of or version)
    bank = np.random.default_rng(0).normal(size=(200, manifest.embed_dim)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    file = calibration_file(repository.folder(TINY, version))
    write_calibration(file, Calibration(calibrated_identity(manifest), bank, dict.fromkeys(kinds, relevance)))
    return file
