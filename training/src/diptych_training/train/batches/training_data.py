"""The training data of a recipe: a packed data set or streams of pairs, with rehearsed data sets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.config import TrainConfig
from diptych_training.data.captions import all_texts
from diptych_training.data.packed import PackedDataset, PackedSource, read_dataset
from diptych_training.data.pairs.excluded import read_excluded
from diptych_training.data.pairs.pair import Pair, Shard, WithoutImages
from diptych_training.data.pairs.stream.order import round_robin
from diptych_training.data.pictograms.build import require_complete
from diptych_training.errors import DataError
from diptych_training.objectives.words import key_of
from diptych_training.paths import expanded
from diptych_training.progress import each
from diptych_training.train.batches.batch import Batches, Position
from diptych_training.train.batches.image_features import ImageFeatures
from diptych_training.train.batches.mixed import MixedBatches
from diptych_training.train.batches.packed import ItemWeight, PackedBatches
from diptych_training.train.batches.streamed import StreamedBatches, order_of, source_reader
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks


class TrainingData(Protocol):
    """The data of one run."""

    def texts(self) -> Iterator[list[str]]:
        """The texts of each item, its label first, that a new tokenizer and dictionary are made of."""
        ...

    def batches(
        self,
        tokenizer_file: Path,
        ranks: Ranks = SINGLE_RANK,
        *,
        first_step: int,
        position: Position,
        features: ImageFeatures | None = None,
        weight: ItemWeight | None = None,
    ) -> Batches:
        """Return batches from a step on; `position` comes from the checkpoint before it, empty at the
        start. `features` gives those of packed images, which batches then have instead of pixels; `weight`
        says how often a packed item is drawn.
        """
        ...


@dataclass(frozen=True)
class PackedTraining:
    """The training part of a packed data set."""

    sources: Sequence[PackedSource]
    config: TrainConfig
    table: str = "data"  # the table of the recipe that weights these sources

    def texts(self) -> Iterator[list[str]]:
        """All texts of all items."""
        return (list(all_texts([item])) for source in self.sources for item in source.items)

    def batches(
        self,
        tokenizer_file: Path,
        ranks: Ranks = SINGLE_RANK,
        *,
        first_step: int,
        position: Position,
        features: ImageFeatures | None = None,
        weight: ItemWeight | None = None,
    ) -> Batches:
        """Batches that are functions of their step."""
        tokenizer = TextTokenizer(tokenizer_file, self.config.text)
        return PackedBatches(
            self.sources, tokenizer, self.config, ranks, table=self.table, features=features, weight=weight
        )


@dataclass(frozen=True)
class StreamedTraining:
    """Image-text pairs in shards."""

    shards: Sequence[Shard]
    config: TrainConfig

    def texts(self) -> Iterator[list[str]]:
        """The texts of the first pairs that the run will read, excluded ones left out; no image is fetched.

        Raises DataError if a list of excluded pairs cannot be read.
        """
        pairs = self.config.data.pairs
        assert pairs is not None
        entries = round_robin(
            [WithoutImages(shard) for shard in self.shards],
            order_of(self.config),
            read_excluded(pairs.exclude),
        )
        chosen = islice((entry for entry in entries if isinstance(entry, Pair)), pairs.tokenizer_pairs)
        for pair in each(chosen, desc="texts for a tokenizer", unit="pair"):
            yield list(pair.texts.all())

    def batches(
        self,
        tokenizer_file: Path,
        ranks: Ranks = SINGLE_RANK,
        *,
        first_step: int,
        position: Position,
        features: ImageFeatures | None = None,
        weight: ItemWeight | None = None,
    ) -> Batches:
        """Batches in order, from the position on."""
        return StreamedBatches(
            self.shards, tokenizer_file, self.config, ranks, first_step=first_step, position=position
        )


@dataclass(frozen=True)
class RehearsedTraining:
    """The run's own data, and other data sets that give a share of every batch."""

    own: TrainingData
    others: Sequence[PackedTraining]
    config: TrainConfig

    def texts(self) -> Iterator[list[str]]:
        """The texts of all data sets."""
        for data in (self.own, *self.others):
            yield from data.texts()

    def batches(
        self,
        tokenizer_file: Path,
        ranks: Ranks = SINGLE_RANK,
        *,
        first_step: int,
        position: Position,
        features: ImageFeatures | None = None,
        weight: ItemWeight | None = None,
    ) -> Batches:
        """Batches in which every data set has its share."""
        own, *others = (
            data.batches(
                tokenizer_file,
                ranks,
                first_step=first_step,
                position=position,
                features=features,
                weight=weight,
            )
            for data in (self.own, *self.others)
        )
        return MixedBatches(own, others, self.config.text.pad_id)


def training_data(dataset: PackedDataset, config: TrainConfig) -> TrainingData:
    """Open the data that the recipe names. Raises DataError if it is missing or has nothing to train on."""
    own = _own_data(dataset, _with_batch_size(config, config.n_own))
    if not config.data.rehearsal:
        return own
    return RehearsedTraining(own, [_rehearsal(name, config) for name in config.data.rehearsal], config)


def _own_data(dataset: PackedDataset, config: TrainConfig) -> TrainingData:
    if config.data.pairs is None:
        return PackedTraining(train_sources(dataset, config), config)
    return StreamedTraining(source_reader(config.data.pairs).shards(config.data.pairs.train), config)


def _rehearsal(name: str, config: TrainConfig) -> PackedTraining:
    """A rehearsed data set: a packed data set with its own batch size and random seed."""
    rehearsal = config.data.rehearsal[name]
    try:
        sources = train_sources(read_dataset(expanded(rehearsal.data)), config)
    except DataError as error:
        raise DataError(f"data.rehearsal.{name}.data: {error}") from error
    mixture = rehearsal.mixture or dict.fromkeys((source.kind for source in sources), 1.0)
    weights = {"mixture": mixture, "source_weights": rehearsal.source_weights}
    part = _with_batch_size(config, config.rehearsed[name]).model_copy(
        update={
            "data": config.data.model_copy(update=weights),
            "seed": key_of(f"{config.seed} {name}".encode()) % 2**63,
        }
    )
    return PackedTraining(sources, part, f"data.rehearsal.{name}")


def _with_batch_size(config: TrainConfig, n: int) -> TrainConfig:
    return config.model_copy(update={"run": config.run.model_copy(update={"batch_size": n})})


def train_sources(dataset: PackedDataset, config: TrainConfig) -> list[PackedSource]:
    """Return the training sources. Raises DataError if there is none, if one is missing that the data set
    should have, or if their images are smaller than the recipe's.

    Features that are computed once may be of images enlarged to a whole multiple. A tower that learns would
    learn from blocks of equal pixels what no other picture has, and each step would compute many times the
    pixels that there are.
    """
    is_enlarged = config.lock.cache and config.preprocess.size % dataset.image_size == 0
    if dataset.image_size < config.preprocess.size and not is_enlarged:
        raise DataError(
            f"{dataset.path}: images are {dataset.image_size} px, preprocess.size is "
            f"{config.preprocess.size}; `data pack --recipe` packs pairs as a recipe needs them"
        )
    require_complete(dataset)
    sources = dataset.sources("train")
    if not sources:
        raise DataError(f"{dataset.path} has no training source")
    return sources
