"""Batches from streams of image-text pairs, read in the order of the steps."""

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from diptych.adapters.images.guards import IMAGE_GUARD
from diptych.bundle.image.preprocess import ImageLimits
from diptych.bundle.text.tokenizer import pad
from diptych_training.config import PairsConfig, TrainConfig
from diptych_training.data.pairs.excluded import digest_of, read_excluded, require_matching_sources
from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.sources.changes import changed_files, fingerprints
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.data.pairs.sources.table import Columns
from diptych_training.data.pairs.stream.crop import Crop
from diptych_training.data.pairs.stream.loader import LoaderSpec, Part, PartLoader, StreamPositions
from diptych_training.data.pairs.stream.order import Order
from diptych_training.data.pairs.stream.prepare import StreamPosition, position_from_numbers
from diptych_training.data.sampler import step_rng
from diptych_training.errors import CheckpointError
from diptych_training.objectives.words import key_of
from diptych_training.train.batches.batch import Batch, PixelTransform, Position, keys_of
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks

# Keys of a position: digest of the source names, fingerprints of their files, digest of the excluded
# names, and the positions of the streams in order.
SOURCES, CONTENTS, EXCLUDED, POSITIONS = "sources", "contents", "excluded", "places"


class StreamedBatches:
    """The batch of each step, in order, or this rank's share of it.

    Each rank reads consecutive streams, so all ranks together see the same batches whatever their number.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        tokenizer_file: Path,
        config: TrainConfig,
        ranks: Ranks = SINGLE_RANK,
        *,
        first_step: int = 0,
        position: Position = {},  # noqa: B006  only read
    ) -> None:
        """`position` is the result of `position(first_step)`, for any number of ranks; empty at the start.

        Raises CheckpointError if the position belongs to other sources, or if their files or the excluded
        names have changed; DataError if a list of excluded pairs cannot be read or belongs to other sources.
        """
        pairs = _pairs(config)
        self._config = config
        excluded = read_excluded(pairs.exclude)
        require_matching_sources(excluded, shards)
        self._sources = {
            SOURCES: sources_digest(shards),
            CONTENTS: fingerprints(shards),
            EXCLUDED: digest_of(excluded),
        }
        self._transform = PixelTransform(config, ranks)
        self._ranks = ranks
        start = _start(position, self._sources, shards, pairs)
        numbers = range(pairs.streams)[ranks.share(pairs.streams)]
        self._before: StreamPositions = {number: start[number] for number in numbers}
        self._after: StreamPositions = self._before
        self._loader = PartLoader(
            _spec(shards, tokenizer_file, config, excluded), self._before, pairs.workers
        )
        self._part: Part | None = None
        self._step = first_step - 1  # the step of `_part`
        self._wait_s = 0.0

    def make(self, step: int) -> Batch:
        """Return the batch of the next step, or of the last one again. A step past the end of the run repeats
        the pairs of the last step. Raises DataError if too many entries are unusable or a source cannot be
        read.
        """
        assert step >= self._step
        if self._part is None or self._step < step < self._config.run.steps:
            assert step in (self._step + 1, self._config.run.steps), f"step {step} after {self._step}"
            self._read_next()
        part = self._part
        assert part is not None
        seed = int(step_rng(self._config.seed, step).integers(2**63))
        labels = np.array([key_of(label.encode()) for label in part.labels], dtype=np.int64)
        return Batch(
            images=self._transform(part.pixels, step, seed),
            input_ids=torch.from_numpy(pad(part.rows, self._config.text)).long(),
            keys=keys_of(part.captions, labels),
        )

    def position(self, step: int) -> Position:
        """Return the positions of all streams before the next step, or before the last one that was made."""
        assert step in (self._step, self._step + 1)
        positions = self._of_all_ranks(self._before if step == self._step else self._after)
        return {**self._sources, POSITIONS: [position.to_numbers() for position in positions]}

    def numbers(self) -> dict[str, float]:
        """Return totals of all streams since the run began, and the seconds that this rank waited since the
        last call.
        """
        positions = self._of_all_ranks(self._after)
        waited = torch.tensor(self._wait_s, device=self._ranks.device)
        self._wait_s = 0.0
        return {
            "data/epoch": float(min(position.cursor.epoch for position in positions)),
            "data/read": float(sum(position.n_read for position in positions)),
            "data/skipped": float(sum(position.n_skipped for position in positions)),
            "data/wait_s": float(self._ranks.mean(waited)),
        }

    def close(self) -> None:
        """Stop the reading processes."""
        self._loader.close()

    def _of_all_ranks(self, positions: StreamPositions) -> list[StreamPosition]:
        """Gather the positions of all ranks in the order of the streams."""
        own = torch.tensor(
            [position.to_numbers() for position in positions.values()], device=self._ranks.device
        )
        return [position_from_numbers(numbers) for numbers in self._ranks.gather(own).tolist()]

    def _read_next(self) -> None:
        started = time.perf_counter()
        self._part = self._loader.next()
        self._wait_s += time.perf_counter() - started
        self._before, self._after = self._after, self._part.positions
        self._step += 1


def source_reader(pairs: PairsConfig) -> SourceReader:
    """Create the reader of sources that the recipe describes."""
    columns = Columns(pairs.image_column, pairs.caption_columns)
    return SourceReader(columns, pairs.images_root, pairs.caption_key, limits_of(pairs))


def limits_of(pairs: PairsConfig) -> ImageLimits:
    """The size limits of one image."""
    return ImageLimits(pairs.max_image_bytes, pairs.max_image_px, IMAGE_GUARD)


def order_of(config: TrainConfig) -> Order:
    """The order in which the recipe mixes its pairs."""
    pairs = _pairs(config)
    return Order(
        seed=config.seed,
        n_streams=pairs.streams,
        block_size=max(1, pairs.shuffle // pairs.streams),
        is_shuffled=pairs.shuffle > 0,
    )


def sources_digest(shards: Sequence[Shard]) -> str:
    """sha256 over the names and order of the shards, which the positions in the streams depend on."""
    return sha256("\n".join(shard.location for shard in shards).encode()).hexdigest()


def _start(
    position: Position, sources: Mapping[str, str], shards: Sequence[Shard], pairs: PairsConfig
) -> list[StreamPosition]:
    if not position:
        return [StreamPosition()] * pairs.streams
    if position[SOURCES] != sources[SOURCES]:
        raise CheckpointError(
            "data.pairs.train names other shards than when the checkpoint was written: "
            "a run can only continue with the same shards in the same order"
        )
    if CONTENTS in position and not pairs.accept_changes:
        _refuse_changes(changed_files(shards, position[CONTENTS], sources[CONTENTS]))
    if position.get(EXCLUDED, sources[EXCLUDED]) != sources[EXCLUDED] and not pairs.accept_changes:
        raise CheckpointError(
            f"data.pairs.exclude, {', '.join(pairs.exclude)}, names other pairs than when the checkpoint was "
            f"written (digest {position[EXCLUDED]} then, {sources[EXCLUDED]} now): the run would continue "
            "with other pairs; --set data.pairs.accept_changes=true continues all the same"
        )
    return [position_from_numbers(numbers) for numbers in position[POSITIONS]]


def _refuse_changes(changed: Sequence[str]) -> None:
    if changed:
        more = f", and {len(changed) - 1:,} more have" if len(changed) > 1 else ""
        raise CheckpointError(
            f"{changed[0]} has changed since the checkpoint was written{more}: the stored positions may "
            "point to other pairs now, so some pairs may be repeated or skipped; "
            "--set data.pairs.accept_changes=true continues all the same"
        )


def _spec(
    shards: Sequence[Shard], tokenizer_file: Path, config: TrainConfig, excluded: frozenset[str]
) -> LoaderSpec:
    pairs = _pairs(config)
    return LoaderSpec(
        shards=shards,
        order=order_of(config),
        n_each=config.run.batch_size // pairs.streams,
        image_spec=config.preprocess,
        text_spec=config.text,
        tokenizer_file=tokenizer_file,
        captions=config.data.captions,
        limits=limits_of(pairs),
        mode=pairs.decode,
        max_skipped=pairs.max_skipped,
        excluded=excluded,
        crop=None if pairs.crop == "center" else Crop(pairs.crop, pairs.crop_scale),
    )


def _pairs(config: TrainConfig) -> PairsConfig:
    assert config.data.pairs is not None
    return config.data.pairs
