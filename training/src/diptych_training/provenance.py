"""What a run learned from, as its sources said it when the run began: kept in its folder, told by its card.

Tells whether that has changed since. Knows nothing of how licences compare.
"""

from pathlib import Path

from pydantic import Field

from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset, SourceEntry, read_dataset
from diptych_training.errors import DataError
from diptych_training.schema import Frozen


class Provenance(Frozen):
    """Indexes of data sets, sources with licences and authors, and the licences of the models that it began
    with and of those that taught it, by what its recipe calls them.

    `own` is what the run was validated on, and learned from unless it has `pairs`: those are sources, with
    their indexes where they are packed data sets; of others no licence is recorded anywhere.
    """

    own: PackedDataset
    pairs: dict[str, PackedDataset | None]
    rehearsed: dict[str, PackedDataset]
    started_from: dict[str, str]
    taught_by: dict[str, str] = Field(default={})  # runs of earlier releases had no teachers

    def licences(self) -> dict[str, str | None]:
        """The licence that is recorded for each source that weights come from; None: for that, none is."""
        datasets = [one for one in self.pairs.values() if one is not None] if self.pairs else [self.own]
        found: dict[str, str | None] = {source: None for source, one in self.pairs.items() if one is None}
        for dataset in (*datasets, *self.rehearsed.values()):
            found |= {f"{dataset.name}/{name}": entry.licence for name, entry in dataset.listed("train")}
        taught = {f"teacher {name}": licence for name, licence in self.taught_by.items()}
        return {**found, **self.started_from, **taught}


def collect_provenance(
    dataset: PackedDataset,
    config: TrainConfig,
    started_from: dict[str, str],
    taught_by: dict[str, str] | None = None,
) -> Provenance:
    """What a run that begins now learns from. DataError if what is rehearsed is not there."""
    sources = () if config.data.pairs is None else config.data.pairs.train
    return Provenance(
        own=dataset,
        pairs={source: _packed(Path(source)) for source in sources},
        rehearsed={
            name: read_dataset(Path(one.data).expanduser()) for name, one in config.data.rehearsal.items()
        },
        started_from=started_from,
        taught_by=taught_by or {},
    )


def changed_source(before: Provenance, now: Provenance) -> str | None:
    """The first source whose content is not what a run began with; None if all is the same.

    Sources of `data.pairs` are not looked at: a stream's place tells whether they have changed. Nor are those
    that have no hash in one of the records.
    """
    own = ("validation",) if before.pairs else ("train", "validation")
    looked_at = [(before.own, now.own, own)]
    looked_at += [
        (was, now.rehearsed[name], ("train",))
        for name, was in before.rehearsed.items()
        if name in now.rehearsed
    ]
    return next(
        (
            f"{name} of {is_.path}"
            for was, is_, splits in looked_at
            for split in splits
            for name in _changed(dict(was.listed(split)), dict(is_.listed(split)))
        ),
        None,
    )


def _changed(was: dict[str, SourceEntry], is_: dict[str, SourceEntry]) -> list[str]:
    """Names of sources that are gone or have another hash. Data may grow by sources of other names."""
    return [name for name in sorted(was) if name not in is_ or _differ(was[name].recipe, is_[name].recipe)]


def _differ(was: str, is_: str) -> bool:
    return bool(was and is_) and was != is_


def _packed(path: Path) -> PackedDataset | None:
    try:
        return read_dataset(path)
    except (DataError, OSError):  # pairs of another kind, or at a URL
        return None
