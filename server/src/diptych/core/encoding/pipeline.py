"""One loaded precision of the served model, with its queues."""

from collections.abc import Callable
from dataclasses import dataclass

from diptych.bundle.encoder import OnStart
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.embedder import Embedder
from diptych.core.encoding.swappable_encoder import SwappableEncoder
from diptych.core.types import InputIds, ModelInfo, Pixels

Canary = Callable[[OnStart], object]


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
    encoder: SwappableEncoder
    weight_bytes: int = 0
