"""One version of a model, loaded in one precision: its queues, its label cache and its calibration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from diptych.bundle.calibration import Calibration
from diptych.bundle.encoder import OnStart
from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.embedder import Embedder
from diptych.core.tuning.precision import Execution, Running, TensorRt
from diptych.core.types import InputIds, ModelInfo, Pixels, Target, VersionRef

Canary = Callable[[OnStart], object]
# Reads the calibration of a version; None if there is none. Blocking.
ReadCalibration = Callable[[], Calibration | None]


class ClosableEncoder(Protocol):
    """An encoder whose memory is freed by `close`."""

    def close(self) -> None:
        """Free the memory, after the last call that runs."""
        ...


@dataclass(eq=False)
class Version:
    """Everything that makes vectors of one identity, loaded and proven on this machine.

    `canaries` encode one image and one text, bypassing the queues: the first with the encoder of the first of
    `batchers`, the second with that of the second. `weight_bytes`: about what the weights take in memory.
    `calibration` is that of the relevance of search hits, as it was read last.
    """

    target: Target
    model: ModelInfo
    embedder: Embedder
    classifier: LabelClassifier
    canaries: tuple[Canary, Canary]
    batchers: tuple[Batcher[Pixels], Batcher[InputIds]]
    timeout_s: float
    encoder: ClosableEncoder
    execution: Execution
    weight_bytes: int = 0
    tensorrt: TensorRt | None = None
    read_calibration: ReadCalibration = lambda: None
    calibration: Calibration | None = None

    @property
    def ref(self) -> VersionRef:
        """The version, without its precision."""
        return self.target.ref

    @property
    def identity(self) -> str:
        """The identity of its vectors, which are never mixed with those of another one."""
        return self.model.identity

    @property
    def running(self) -> Running:
        """What runs it."""
        return Running(self.model.precision, self.model.provider, self.tensorrt)
