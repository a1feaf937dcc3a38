"""One loaded precision of the served model, with its queues."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from diptych.bundle.encoder import OnStart
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.embedder import Embedder
from diptych.core.tuning.precision import Running, TensorRt
from diptych.core.types import InputIds, ModelInfo, Pixels

Canary = Callable[[OnStart], object]


class ClosableEncoder(Protocol):
    """An encoder whose memory is freed by `close`."""

    def close(self) -> None:
        """Free the memory, after the last call that runs."""
        ...


@dataclass(frozen=True, eq=False)
class EncoderPipeline:
    """Everything that makes vectors of one identity; vectors of two pipelines are never mixed.

    `canaries` encode one image and one text, bypassing the queues: the first with the encoder of the first of
    `batchers`, the second with that of the second. `weight_bytes`: about what the weights take in memory.
    """

    model: ModelInfo
    embedder: Embedder
    canaries: tuple[Canary, Canary]
    batchers: tuple[Batcher[Pixels], Batcher[InputIds]]
    timeout_s: float
    encoder: ClosableEncoder
    weight_bytes: int = 0
    tensorrt: TensorRt | None = None

    @property
    def running(self) -> Running:
        """What runs this precision."""
        return Running(self.model.precision, self.model.provider, self.tensorrt)
