"""The encoder that runs one precision now, which may be replaced beside its calls. Knows no runtime."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from diptych.bundle.encoder import Embeddings, InputIds, OnStart, Pixels, StoppableEncoder
from diptych.core.precision import Running, TensorRt


@dataclass(frozen=True)
class _Now:
    encoder: StoppableEncoder
    describe: Callable[[], Running]


class Runner:
    """Satisfies `StoppableEncoder`. A call that has begun ends with the encoder that it began with.

    What was replaced is freed with its last call.
    """

    def __init__(self, encoder: StoppableEncoder, describe: Callable[[], Running]) -> None:
        """`describe` says what `encoder` is, without TensorRT."""
        self._now = _Now(encoder, describe)
        self._tensorrt: TensorRt | None = None

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """As StoppableEncoder.encode_image."""
        return self._now.encoder.encode_image(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """As StoppableEncoder.encode_text."""
        return self._now.encoder.encode_text(input_ids, on_start)

    def running(self) -> Running:
        """What runs now."""
        return replace(self._now.describe(), tensorrt=self._tensorrt)

    def tell(self, tensorrt: TensorRt) -> None:
        """How far TensorRT is."""
        self._tensorrt = tensorrt

    def take(self, encoder: StoppableEncoder, describe: Callable[[], Running], tensorrt: TensorRt) -> None:
        """From the next call on it is this one, with the same vectors within the bounds of the precision."""
        self._now = _Now(encoder, describe)
        self._tensorrt = tensorrt
