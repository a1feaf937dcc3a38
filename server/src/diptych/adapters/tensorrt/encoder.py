"""Runs the two TensorRT plans of a version, one for images and one for texts."""

from collections.abc import Sequence
from pathlib import Path

from diptych.adapters.cuda.device import first_gpu
from diptych.adapters.tensorrt.engine import EnginePort, TensorrtEngine
from diptych.bundle.encoder import ByTower, Embeddings, InputIds, OnStart, Pixels

TENSORRT_PROVIDER = "TensorRT"

PIXELS = EnginePort("pixels", "UINT8", 4)  # (B, S, S, 3)
INPUT_IDS = EnginePort("input_ids", "INT32", 2)  # (B, L)
IMAGE_EMBEDDING = EnginePort("image_embedding", "FLOAT", 2)  # (B, D)
TEXT_EMBEDDING = EnginePort("text_embedding", "FLOAT", 2)  # (B, D)


class TensorrtEncoder:
    """Both towers of one model on TensorRT; satisfies `Encoder` and `StoppableEncoder` of the bundle.

    Calls may come from any thread; the calls of one tower wait for each other, and each tower has a stream of
    its own. Raises ConfigError without a GPU or TensorRT; BundleError if a plan does not load here or does
    not have the bundle's signature.
    """

    def __init__(self, image_file: Path, text_file: Path) -> None:
        self.device_name: str | None = first_gpu().name
        self.provider = TENSORRT_PROVIDER
        self.text_lengths: tuple[int, ...] = ()  # any length
        self.captures: bool | None = None
        self.why_not_captured = ByTower()
        self._image = TensorrtEngine(image_file, PIXELS, IMAGE_EMBEDDING)
        try:
            self._text = TensorrtEngine(text_file, INPUT_IDS, TEXT_EMBEDDING)
        except BaseException:
            self._image.close()
            raise

    def fit(self, image_sizes: Sequence[int], text_sizes: Sequence[int]) -> None:
        """Do nothing: a plan takes any size within its profiles, in buffers for the largest."""

    def capture(self, images: Sequence[Pixels], texts: Sequence[InputIds]) -> None:
        """Do nothing: TensorRT's runs are not captured."""

    def close(self) -> None:
        """Free the GPU's memory while nothing is captured."""
        self._image.close()
        self._text.close()

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._image.run(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """(B, L) int32, padded with the pad_id -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._text.run(input_ids, on_start)
