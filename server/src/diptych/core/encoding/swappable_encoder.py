"""An encoder that can be replaced while calls run, such as CUDA by TensorRT."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from diptych.bundle.encoder import Embeddings, InputIds, OnStart, Pixels, StoppableEncoder
from diptych.core.tuning.precision import Running, TensorRt

Close = Callable[[], object]  # frees the memory of an encoder; may block


def _nothing() -> None:
    """Do nothing: the encoder is freed with its last reference."""


@dataclass(eq=False)
class _Current:
    encoder: StoppableEncoder
    describe: Callable[[], Running]
    close: Close
    n_calls: int = 0
    is_retired: bool = False


class SwappableEncoder:
    """A `StoppableEncoder` that delegates. A call ends with the encoder that it began with.

    An encoder that was replaced is closed once its last call has ended, by the thread that ends it; closing
    may block.
    """

    def __init__(
        self, encoder: StoppableEncoder, describe: Callable[[], Running], close: Close = _nothing
    ) -> None:
        """`describe` says what `encoder` is, without TensorRT; `close` frees its memory."""
        self._current = _Current(encoder, describe, close)
        self._tensorrt: TensorRt | None = None
        self._is_closed = False
        self._lock = threading.Lock()  # guards all fields, and `n_calls` and `is_retired` of each encoder

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """See StoppableEncoder.encode_image."""
        with self._call() as encoder:
            return encoder.encode_image(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """See StoppableEncoder.encode_text."""
        with self._call() as encoder:
            return encoder.encode_text(input_ids, on_start)

    def running(self) -> Running:
        """Describe the encoder that runs now."""
        return replace(self._current.describe(), tensorrt=self._tensorrt)

    def set_tensorrt_state(self, tensorrt: TensorRt) -> None:
        """Record the progress of TensorRT."""
        self._tensorrt = tensorrt

    def swap(
        self,
        encoder: StoppableEncoder,
        describe: Callable[[], Running],
        tensorrt: TensorRt,
        close: Close = _nothing,
    ) -> None:
        """Use `encoder` from the next call on; its vectors equal the former's within the precision's bounds.

        Blocks if the former encoder is idle, since it is closed at once. After `close`, `encoder` is closed
        instead.
        """
        replacement = _Current(encoder, describe, close)
        with self._lock:
            former = replacement if self._is_closed else self._current
            if not self._is_closed:
                self._current, self._tensorrt = replacement, tensorrt
        self._retire(former)

    def close(self) -> None:
        """Close the encoder. If calls are still running, the last one to finish closes it; otherwise this
        blocks.
        """
        with self._lock:
            self._is_closed, current = True, self._current
        self._retire(current)

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
