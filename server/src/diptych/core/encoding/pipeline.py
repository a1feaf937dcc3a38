"""One precision of the served model at work; knows nothing of how it was loaded or of who uses it."""

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
    """Vectors of two pipelines are never mixed.

    `canaries` encode one image and one text past the queues: the first what the first of `batchers` does, the
    second what the second does.
    """

    model: ModelInfo
    embedder: Embedder
    canaries: tuple[Canary, Canary]
    batchers: tuple[Batcher[Pixels], Batcher[InputIds]]
    timeout_s: float
    encoder: SwappableEncoder
