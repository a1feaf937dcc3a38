"""Build the data set source by source; an interrupted build continues with the missing sources."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from diptych_training.data.packed import (
    INDEX_FILE,
    Kind,
    PackedDataset,
    PackedItem,
    SourceEntry,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.data.pictograms.lists import (
    NAMES_PACKAGE,
    SourceSpec,
    eval_items,
    package_versions,
    source_specs,
)
from diptych_training.data.pictograms.pool import RenderPool
from diptych_training.data.pictograms.render import Drawing
from diptych_training.errors import DataError
from diptych_training.files import exclusive_lock
from diptych_training.progress import progress_bar

NAME = "pictograms"
IMAGE_SIZE = 64
# Raise a number when the same packages give other images or captions of that kind.
RECIPE_VERSIONS: dict[Kind, int] = {"emoji": 2, "icons": 1}


class DrawingSource(Protocol):
    """Provides the drawings of a source, with their texts."""

    def drawings(self, spec: SourceSpec) -> list[Drawing]:
        """All drawings of a source, in a fixed order."""


@dataclass(frozen=True)
class Builder:
    """Builds into `out` from the drawings that `sources` opens."""

    out: Path
    sources: DrawingSource
    n_jobs: int

    def build(self, wanted: Sequence[SourceSpec]) -> PackedDataset:
        """Build sources that are missing or have another recipe; return the whole data set in `out`.

        Raises DataError if another build is running, a listed item is lost, or `out` holds other data.
        """
        # Two builds into one folder would remove each other's entries from the index.
        with exclusive_lock(self.out / ".lock", DataError(f"another build is writing to {self.out}")):
            dataset = self._read_existing()
            specs = [spec for spec in wanted if not _is_current(dataset, spec)]
            with RenderPool(IMAGE_SIZE, self.n_jobs) as pool:
                for number, spec in enumerate(specs, 1):
                    label = f"[{number}/{len(specs)}] {spec.split} {spec.name}"
                    entry = self._build_source(spec, pool, label)
                    dataset = replace(dataset, entries={**dataset.entries, spec.name: entry})
                    write_index(dataset)
        return dataset

    def _read_existing(self) -> PackedDataset:
        """The data set of an earlier build, or an empty one."""
        if not (self.out / INDEX_FILE).exists():
            return PackedDataset(self.out, NAME, IMAGE_SIZE, {})
        dataset = read_dataset(self.out)
        if (dataset.name, dataset.image_size) != (NAME, IMAGE_SIZE):
            raise DataError(
                f"{self.out} holds {dataset.name!r} at {dataset.image_size} px, not {NAME!r} at {IMAGE_SIZE}"
            )
        return dataset

    def _build_source(self, spec: SourceSpec, pool: RenderPool, label: str) -> SourceEntry:
        drawings = self.sources.drawings(spec)
        with progress_bar(total=len(drawings), desc=label, unit="image") as bar:
            outcomes = pool.render(drawings, bar.update)
        kept: list[tuple[PackedItem, np.ndarray]] = []
        drops: Counter[str] = Counter()
        for drawing, outcome in zip(drawings, outcomes, strict=True):
            if isinstance(outcome, str):
                drops[outcome] += 1
            else:
                kept.append((drawing.item, outcome))
        _require_listed_icons(spec, drops, kept)
        images = np.stack([pixels for _, pixels in kept])  # (N, S, S, 3)
        write_source(self.out, spec.split, spec.name, images, [item for item, _ in kept])
        return _entry(spec, len(kept), dict(drops))


def recipe_of(spec: SourceSpec) -> str:
    """sha256 over everything that determines a source's files."""
    versions = package_versions()
    made_from = {
        "recipe_version": RECIPE_VERSIONS[spec.kind],
        "image_size": IMAGE_SIZE,
        "spec": asdict(spec),
        "packages": {package: versions[package] for package in sorted({spec.package, NAMES_PACKAGE})},
        "items": [asdict(item) for item in eval_items(spec.name)],
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def require_complete(dataset: PackedDataset) -> None:
    """Raise DataError if a build of this data set stopped before everything for training was there."""
    if dataset.name != NAME:
        return
    needed = [spec.name for split in ("train", "validation") for spec in source_specs(split)]
    missing = [name for name in needed if name not in dataset.entries]
    if missing:
        raise DataError(
            f"{dataset.path} lacks {len(missing)} of {len(needed)} sources ({', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}): `diptych-train data pictograms` continues the build"
        )


def _entry(spec: SourceSpec, n: int, drops: dict[str, int]) -> SourceEntry:
    return SourceEntry(
        split=spec.split,
        kind=spec.kind,
        n=n,
        licence=spec.licence,
        author=spec.author,
        recipe=recipe_of(spec),
        drops=drops,
        pixel_1nn_top1=spec.pixel_1nn_top1,
    )


def _is_current(dataset: PackedDataset, spec: SourceSpec) -> bool:
    entry = dataset.entries.get(spec.name)
    files = (dataset.path / spec.split / f"{spec.name}{suffix}" for suffix in (".npy", ".jsonl"))
    return entry is not None and entry.recipe == recipe_of(spec) and all(file.exists() for file in files)


def _require_listed_icons(
    spec: SourceSpec, drops: Counter[str], kept: list[tuple[PackedItem, np.ndarray]]
) -> None:
    """Raise DataError if a source has no drawing, or a drawing of a held-out source is missing."""
    if not kept:
        raise DataError(f"source {spec.name!r}: no drawing could be rendered ({dict(drops)})")
    if spec.split == "eval" and drops:
        lost = {item.name for item in eval_items(spec.name)} - {item.id for item, _ in kept}
        raise DataError(
            f"source {spec.name!r}: {len(lost)} listed icons cannot be rendered: {sorted(lost)[:20]}"
        )
