"""The provenance of a run: its data sets, start model and teachers, with licences and authors.

It is recorded in the run folder when the run begins and copied into the model card. `changed_source` detects
data that has changed since. `is_open` says under which licences art may be shared.
"""

from pathlib import Path

from pydantic import Field

from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset, SourceEntry, read_dataset
from diptych_training.errors import DataError
from diptych_training.paths import expanded
from diptych_training.schema import Frozen

# Each has at least the requirements of those before it: none, notices, attribution, share-alike.
BY_STRICTNESS = (
    "public domain", "CC0-1.0", "Unlicense", "0BSD", "MIT-0", "ISC", "MIT", "BSD-2-Clause", "BSD-3-Clause",
    "Apache-2.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "OFL-1.1", "CC-BY-SA-2.5",
    "CC-BY-SA-3.0", "CC-BY-SA-4.0",
)  # fmt: skip
RANKS = {name.casefold(): rank for rank, name in enumerate(BY_STRICTNESS)}


def is_open(licence: str | None) -> bool:
    """Whether a recorded licence is one that allows sharing the art itself, under that licence."""
    return licence is not None and licence.casefold() in RANKS


class Provenance(Frozen):
    """The sources of a run's weights: indexes of data sets with licences and authors, and the licences of the
    start model and of the teachers, by their names in the recipe.

    `own` is the data set for validation, and for training unless the recipe has `pairs`. `pairs` maps each
    source to its index if it is a packed data set; for other sources no licence is recorded (None).
    """

    own: PackedDataset
    pairs: dict[str, PackedDataset | None]
    rehearsed: dict[str, PackedDataset]
    started_from: dict[str, str]
    taught_by: dict[str, str] = Field(default={})  # runs of earlier releases had no teachers

    def licences(self) -> dict[str, str | None]:
        """Return the recorded licence of each source of the weights; None where none is recorded."""
        datasets = [one for one in self.pairs.values() if one is not None] if self.pairs else [self.own]
        found: dict[str, str | None] = {source: None for source, one in self.pairs.items() if one is None}
        for dataset in (*datasets, *self.rehearsed.values()):
            found |= {f"{dataset.name}/{name}": entry.licence for name, entry in dataset.listed("train")}
        teachers = {f"teacher {name}": licence for name, licence in self.taught_by.items()}
        return {**found, **self.started_from, **teachers}


def collect_provenance(
    dataset: PackedDataset,
    config: TrainConfig,
    started_from: dict[str, str],
    taught_by: dict[str, str] | None = None,
) -> Provenance:
    """Describe what a run that begins now learns from. Raises DataError if a rehearsed data set is
    missing.
    """
    sources = () if config.data.pairs is None else config.data.pairs.train
    return Provenance(
        own=dataset,
        pairs={source: _packed(Path(source)) for source in sources},
        rehearsed={name: read_dataset(expanded(one.data)) for name, one in config.data.rehearsal.items()},
        started_from=started_from,
        taught_by=taught_by or {},
    )


def drawings_of(config: TrainConfig, learned: Provenance | None) -> str | None:
    """The model that a run's tower of drawings is from, by its title if that is recorded."""
    start = config.start_image
    if start is None or start.drawings is None:
        return None
    recorded = () if learned is None else learned.started_from
    return next((title for title in recorded if title != start.title), start.drawings)


def changed_source(before: Provenance, now: Provenance) -> str | None:
    """Return the first source whose content differs from the record of the run; None if nothing changed.

    Sources of `data.pairs` are not compared here: their stream positions detect changes. Sources without a
    hash in one of the records are skipped.
    """
    own = ("validation",) if before.pairs else ("train", "validation")
    compared = [(before.own, now.own, own)]
    compared += [
        (was, now.rehearsed[name], ("train",))
        for name, was in before.rehearsed.items()
        if name in now.rehearsed
    ]
    return next(
        (
            f"{name} of {is_.path}"
            for was, is_, splits in compared
            for split in splits
            for name in _changed(dict(was.listed(split)), dict(is_.listed(split)))
        ),
        None,
    )


def _changed(was: dict[str, SourceEntry], is_: dict[str, SourceEntry]) -> list[str]:
    """Names of sources that are gone or have another hash. New sources are allowed."""
    return [name for name in sorted(was) if name not in is_ or _differ(was[name].recipe, is_[name].recipe)]


def _differ(was: str, is_: str) -> bool:
    return bool(was and is_) and was != is_


def _packed(path: Path) -> PackedDataset | None:
    try:
        return read_dataset(path)
    except (DataError, OSError):  # pairs of another kind, or at a URL
        return None
