"""Parts of batches in their order, made by worker processes; knows nothing of models.

Each stream belongs to one worker, and each part says how far its streams are. What a run sees does not
depend on the number of workers, and a run that goes on starts its streams where the last part left them.
"""

import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from diptych.bundle.encoder import Pixels
from diptych.bundle.image import DecodeMode, ImageLimits, silence_decoders
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych.bundle.text import Ids
from diptych_training.config import CaptionConfig
from diptych_training.data.pairs.draw import TextDrawer
from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.prepare import Place, Preparer, Samples
from diptych_training.data.pairs.stream import Order, Stream
from diptych_training.errors import DataError

PREFETCHED_PARTS = 2  # that each worker has ready
Item = TypeVar("Item")
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


class Parts(IterableDataset[Part | DataError]):
    """The endless parts of some streams; in a worker, of those streams that are its own."""

    def __init__(self, spec: PartSpec, places: Places) -> None:
        self._spec = spec
        self._places = places

    def __iter__(self) -> Iterator[Part | DataError]:
        """Parts in order; an error is the last thing given, since it would lose its type on the way."""
        worker = get_worker_info()
        numbers = sorted(self._places)
        if worker is not None:
            numbers = np.array_split(numbers, worker.num_workers)[worker.id].tolist()
        silence_decoders()
        try:
            streams = {number: self._spec.samples(number, self._places[number]) for number in numbers}
            while True:
                yield _part(streams, self._spec.n_each)
        except DataError as error:
            yield error


class PartLoader:
    """One part a step, of all given streams. Close it, or the workers stay until the process ends."""

    def __init__(self, spec: PartSpec, places: Places, n_workers: int) -> None:
        n_workers = min(n_workers, len(places))
        self._n_parts = max(1, n_workers)
        self._parts: Iterator[Part | DataError] | None = None
        with _as_many_as_asked_for():
            self._loader = DataLoader(
                Parts(spec, places),
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=n_workers,
                # spawned, not forked: clients of file systems have threads, whose locks a fork leaves held
                multiprocessing_context="spawn" if n_workers else None,
                prefetch_factor=PREFETCHED_PARTS if n_workers else None,
                worker_init_fn=_leave_interrupts_to_the_loop,
                generator=torch.Generator(),  # for a seed, which is not to be drawn from that of training
            )

    def next(self) -> Part:
        """The part of the next step. DataError when a stream ends in one, or a worker process has died."""
        if self._parts is None:
            with _as_many_as_asked_for():
                self._parts = iter(self._loader)
        try:
            parts = [next(self._parts) for _ in range(self._n_parts)]
        except RuntimeError as error:
            raise DataError(
                f"a process that prepares data has died, perhaps for want of memory ({error}): "
                "go on with --resume, with fewer data.pairs.workers"
            ) from error
        return _joined(parts)

    def close(self) -> None:
        """End the workers."""
        self._parts = None  # the loader's iterator ends its processes when it is dropped


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


@contextmanager
def _as_many_as_asked_for() -> Iterator[None]:
    """More processes than cores are the recipe's choice: they may wait for a server most of the time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def _as_it_is(item: Item) -> Item:
    """Arrays travel through a pipe: shared memory is 64 MB in a container, and its end is a bus error."""
    return item


def _leave_interrupts_to_the_loop(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the loop finishes its step, and needs its data for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
