"""The encoder that runs one precision now, which may be replaced beside its calls. Knows no runtime."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from diptych.bundle.encoder import Embeddings, InputIds, OnStart, Pixels, StoppableEncoder
from diptych.core.tuning.precision import Running, TensorRt

Close = Callable[[], object]  # gives the memory of an encoder back; it may block


def _nothing() -> None:
    """To close: it goes with the last that holds it."""


@dataclass(eq=False)
class _Current:
    encoder: StoppableEncoder
    describe: Callable[[], Running]
    close: Close
    n_calls: int = 0
    is_retired: bool = False


class SwappableEncoder:
    """Satisfies `StoppableEncoder`. A call that has begun ends with the encoder that it began with.

    What was replaced is closed once its last call has ended, by whoever comes last: that may block.
    """

    def __init__(
        self, encoder: StoppableEncoder, describe: Callable[[], Running], close: Close = _nothing
    ) -> None:
        """`describe` says what `encoder` is, without TensorRT; `close` gives back what it takes."""
        self._current = _Current(encoder, describe, close)
        self._tensorrt: TensorRt | None = None
        self._lock = threading.Lock()  # over the counts

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """As StoppableEncoder.encode_image."""
        with self._call() as encoder:
            return encoder.encode_image(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """As StoppableEncoder.encode_text."""
        with self._call() as encoder:
            return encoder.encode_text(input_ids, on_start)

    def running(self) -> Running:
        """What runs now."""
        return replace(self._current.describe(), tensorrt=self._tensorrt)

    def set_tensorrt_state(self, tensorrt: TensorRt) -> None:
        """How far TensorRT is."""
        self._tensorrt = tensorrt

    def swap(
        self,
        encoder: StoppableEncoder,
        describe: Callable[[], Running],
        tensorrt: TensorRt,
        close: Close = _nothing,
    ) -> None:
        """From the next call on it is this one, with the same vectors within the bounds of the precision.

        Blocking, where the one before is closed at once.
        """
        with self._lock:
            former, self._current = self._current, _Current(encoder, describe, close)
            self._tensorrt = tensorrt
        self._retire(former)

    def close(self) -> None:
        """Of no use from now on. Blocking, where no call runs: else the last one closes it."""
        self._retire(self._current)

    @contextmanager
    def _call(self) -> Iterator[StoppableEncoder]:
        with self._lock:
            now = self._current
            now.n_calls += 1
        try:
            yield now.encoder
        finally:
            with self._lock:
                now.n_calls -= 1
                is_last = now.is_retired and not now.n_calls
            if is_last:
                now.close()

    def _retire(self, former: _Current) -> None:
        with self._lock:
            is_idle = not former.is_retired and not former.n_calls
            former.is_retired = True
        if is_idle:
            former.close()
