"""Load parts of batches in order, with worker processes.

Each stream belongs to one worker, and each part holds the positions of its streams. The samples of a run do
not depend on the number of workers, and a resumed run continues its streams where the last part left them.
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
from diptych_training.data.pairs.stream.crop import Crop
from diptych_training.data.pairs.stream.order import Order, Stream
from diptych_training.data.pairs.stream.prepare import Preparer, SampleStream, StreamPosition, TextSampler
from diptych_training.data.pairs.stream.worker import Worker, WorkerDied
from diptych_training.errors import DataError

StreamPositions = Mapping[int, StreamPosition]  # by number of the stream


@dataclass(frozen=True)
class Part:
    """Samples of consecutive streams, and the streams' positions after them."""

    pixels: Pixels  # (N, S, S, 3)
    rows: list[Ids]  # N of (L,)
    captions: list[bytes]  # N keys
    labels: list[str]  # N keys
    positions: StreamPositions


@dataclass(frozen=True)
class LoaderSpec:
    """Everything that a worker needs to make its parts; pickled to the worker."""

    shards: Sequence[Shard]
    order: Order
    n_each: int  # samples per stream and batch
    image_spec: ImageSpec
    text_spec: TextSpec
    tokenizer_file: Path
    captions: CaptionConfig
    limits: ImageLimits
    mode: DecodeMode
    max_skipped: float
    excluded: frozenset[str]
    crop: Crop | None = None

    def samples(self, number: int, start: StreamPosition) -> SampleStream:
        """Samples of one stream from `start` on."""
        return SampleStream(
            Stream(self.shards, number, self.order),
            number,
            self.order.seed,
            Preparer(
                image_spec=self.image_spec,
                text_spec=self.text_spec,
                tokenizer_file=self.tokenizer_file,
                texts=TextSampler(self.captions),
                limits=self.limits,
                mode=self.mode,
                crop=self.crop,
            ),
            max_skipped=self.max_skipped,
            excluded=self.excluded,
            start=start,
        )


@dataclass(frozen=True)
class Parts:
    """The endless parts of some streams."""

    spec: LoaderSpec
    positions: StreamPositions

    def __iter__(self) -> Generator[Part | DataError]:
        """Parts in order; an error is yielded as the last item, since it may come from another process."""
        silence_decoders()
        try:
            streams = {
                number: self.spec.samples(number, position) for number, position in self.positions.items()
            }
            while True:
                yield _part(streams, self.spec.n_each)
        except DataError as error:
            yield error


class PartLoader:
    """Loads one part per step, with samples of all given streams.

    The caller must close it; otherwise the workers live until the process ends.
    """

    def __init__(self, spec: LoaderSpec, positions: StreamPositions, n_workers: int) -> None:
        """With `n_workers` 0, everything runs in this process."""
        shares = np.array_split(sorted(positions), max(1, min(n_workers, len(positions))))
        self._parts = [
            Parts(spec, {number: positions[number] for number in share.tolist()}) for share in shares
        ]
        self._uses_processes = n_workers > 0
        self._producers: list[Worker[Part | DataError] | Generator[Part | DataError]] = []

    def next(self) -> Part:
        """The part for the next step. DataError if a stream raised one, or a worker process died."""
        try:
            if not self._producers:
                self._start()
            return _join([next(producer) for producer in self._producers])
        except WorkerDied as error:
            raise DataError(
                f"a process that prepares data has died, perhaps because memory ran out ({error}): "
                "continue with --resume and fewer data.pairs.workers"
            ) from error

    def close(self) -> None:
        """End the workers."""
        while self._producers:
            self._producers.pop().close()

    def _start(self) -> None:
        if not self._uses_processes:
            self._producers.extend(iter(parts) for parts in self._parts)
            return
        workers: list[Worker[Part | DataError]] = []
        for _ in self._parts:  # start all of them before waiting for one
            workers.append(Worker())
            self._producers.append(workers[-1])
        for worker, parts in zip(workers, self._parts, strict=True):
            worker.begin(parts)


def _part(streams: Mapping[int, SampleStream], n_each: int) -> Part:
    samples = [sample for stream in streams.values() for sample in stream.take(n_each)]
    return Part(
        pixels=np.stack([sample.pixels for sample in samples]),
        rows=[sample.input_ids for sample in samples],
        captions=[sample.caption for sample in samples],
        labels=[sample.label for sample in samples],
        positions={number: stream.position for number, stream in streams.items()},
    )


def _join(parts: Sequence[Part | DataError]) -> Part:
    whole: Part | None = None
    for part in parts:
        if isinstance(part, DataError):
            raise part
        whole = part if whole is None else _concatenate(whole, part)
    assert whole is not None
    return whole


def _concatenate(one: Part, other: Part) -> Part:
    return replace(
        one,
        pixels=np.concatenate([one.pixels, other.pixels]),
        rows=[*one.rows, *other.rows],
        captions=[*one.captions, *other.captions],
        labels=[*one.labels, *other.labels],
        positions={**one.positions, **other.positions},
    )
