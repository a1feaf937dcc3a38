"""Parts of batches in their order, made by worker processes; knows nothing of models.

Each stream belongs to one worker, and each part says how far its streams are. What a run sees does not
depend on the number of workers, and a run that goes on starts its streams where the last part left them.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import DecodeMode, ImageLimits, silence_decoders
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych.bundle.text.tokenizer import Ids
from diptych_training.config import CaptionConfig
from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.stream.order import Order, Stream
from diptych_training.data.pairs.stream.prepare import Place, Preparer, Samples, TextDrawer
from diptych_training.data.pairs.stream.worker import Worker, WorkerDied
from diptych_training.errors import DataError

Places = Mapping[int, Place]  # by number of the stream


@dataclass(frozen=True)
class Part:
    """Samples of consecutive streams, and how far those streams are after them."""

    pixels: Pixels  # (N, S, S, 3)
    rows: list[Ids]  # N of (L,)
    labels: list[str]  # N
    places: Places


@dataclass(frozen=True)
class PartSpec:
    """All that a worker needs to make its parts; sent to it as it is."""

    shards: Sequence[Shard]
    order: Order
    n_each: int  # samples that each stream gives to a batch
    image_spec: ImageSpec
    text_spec: TextSpec
    tokenizer_file: Path
    captions: CaptionConfig
    limits: ImageLimits
    mode: DecodeMode
    max_skipped: float
    excluded: frozenset[str]

    def samples(self, number: int, start: Place) -> Samples:
        """The samples of one stream from `start` on."""
        return Samples(
            Stream(self.shards, number, self.order),
            number,
            self.order.seed,
            Preparer(
                image_spec=self.image_spec,
                text_spec=self.text_spec,
                tokenizer_file=self.tokenizer_file,
                texts=TextDrawer(self.captions),
                limits=self.limits,
                mode=self.mode,
            ),
            max_skipped=self.max_skipped,
            excluded=self.excluded,
            start=start,
        )


@dataclass(frozen=True)
class Parts:
    """The endless parts of some streams."""

    spec: PartSpec
    places: Places

    def __iter__(self) -> Generator[Part | DataError]:
        """Parts in order; an error is the last thing given, since it may come from another process."""
        silence_decoders()
        try:
            streams = {number: self.spec.samples(number, place) for number, place in self.places.items()}
            while True:
                yield _part(streams, self.spec.n_each)
        except DataError as error:
            yield error


class PartLoader:
    """One part a step, of all given streams. Close it, or the workers stay until the process ends."""

    def __init__(self, spec: PartSpec, places: Places, n_workers: int) -> None:
        """With `n_workers` 0, everything is done in this process."""
        shares = np.array_split(sorted(places), max(1, min(n_workers, len(places))))
        self._parts = [Parts(spec, {number: places[number] for number in share.tolist()}) for share in shares]
        self._are_beside = n_workers > 0
        self._makers: list[Worker[Part | DataError] | Generator[Part | DataError]] = []

    def next(self) -> Part:
        """The part of the next step. DataError when a stream ends in one, or a worker process has died."""
        try:
            if not self._makers:
                self._start()
            return _joined([next(maker) for maker in self._makers])
        except WorkerDied as error:
            raise DataError(
                f"a process that prepares data has died, perhaps for want of memory ({error}): "
                "go on with --resume, with fewer data.pairs.workers"
            ) from error

    def close(self) -> None:
        """End the workers."""
        while self._makers:
            self._makers.pop().close()

    def _start(self) -> None:
        if not self._are_beside:
            self._makers.extend(iter(parts) for parts in self._parts)
            return
        workers: list[Worker[Part | DataError]] = []
        for _ in self._parts:  # all of them, before one is waited for
            workers.append(Worker())
            self._makers.append(workers[-1])
        for worker, parts in zip(workers, self._parts, strict=True):
            worker.begin(parts)


def _part(streams: Mapping[int, Samples], n_each: int) -> Part:
    samples = [sample for stream in streams.values() for sample in stream.take(n_each)]
    return Part(
        pixels=np.stack([sample.pixels for sample in samples]),
        rows=[sample.input_ids for sample in samples],
        labels=[sample.label for sample in samples],
        places={number: stream.place for number, stream in streams.items()},
    )


def _joined(parts: Sequence[Part | DataError]) -> Part:
    whole: Part | None = None
    for part in parts:
        if isinstance(part, DataError):
            raise part
        whole = part if whole is None else _two(whole, part)
    assert whole is not None
    return whole


def _two(one: Part, other: Part) -> Part:
    return replace(
        one,
        pixels=np.concatenate([one.pixels, other.pixels]),
        rows=[*one.rows, *other.rows],
        labels=[*one.labels, *other.labels],
        places={**one.places, **other.places},
    )
