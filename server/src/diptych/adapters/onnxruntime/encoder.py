"""Runs the two ONNX graphs of a bundle with onnxruntime, on the CPU or the GPU."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from diptych.adapters.onnxruntime.cuda_provider import require_cuda
from diptych.adapters.onnxruntime.gpu_run import Shapes
from diptych.adapters.onnxruntime.session import Device
from diptych.adapters.onnxruntime.tower import Port, Tower
from diptych.bundle.encoder import ByTower, Embeddings, InputIds, OnStart, Pixels

PIXELS = Port("pixels", "tensor(uint8)", 4)  # (B, S, S, 3)
INPUT_IDS = Port("input_ids", "tensor(int32)", 2)  # (B, L)
IMAGE_EMBEDDING = Port("image_embedding", "tensor(float)", 2)  # (B, D)
TEXT_EMBEDDING = Port("text_embedding", "tensor(float)", 2)  # (B, D)


class OnnxEncoder:
    """Both towers of one model on onnxruntime; satisfies `Encoder` and `StoppableEncoder` of the bundle.

    `n_threads` is the size of each graph's thread pool; with 0 onnxruntime chooses (one per core). Calls may
    come from any thread; a stopped call ends after the operator that it is in. On a GPU the calls of one
    tower wait for each other, and batches are padded to the sizes that `fit` sets. Raises ConfigError if
    `device` cannot be used here; BundleError if a file does not load, or its graph does not have the bundle's
    signature.
    """

    def __init__(
        self,
        image_file: Path,
        text_file: Path,
        *,
        n_threads: int = 0,
        device: Device = "cpu",
        batch_sizes: Sequence[int] = (),
        text_lengths: Sequence[int] = (),
        pad_id: int = 0,
        captures: bool = False,
    ) -> None:
        """`batch_sizes`, `text_lengths`, `pad_id` and `captures` matter on a GPU only.

        Batches of both towers are padded to `batch_sizes` until `fit` is called. Texts are padded with
        `pad_id` to the next of `text_lengths`, if there are any. With `captures` batches can run as CUDA
        graphs, unless `why_not_captured` gives a reason against it.
        """
        self.device_name = None if device == "cpu" else require_cuda().name
        self.text_lengths = tuple(text_lengths)
        self.captures = captures if device == "cuda" else None
        open_tower = partial(Tower, n_threads=n_threads, device=device, captures=captures)
        self._image = open_tower(image_file, PIXELS, IMAGE_EMBEDDING, shapes=Shapes(tuple(batch_sizes)))
        try:
            shapes = Shapes(tuple(batch_sizes), text_lengths, pad_id)
            self._text = open_tower(text_file, INPUT_IDS, TEXT_EMBEDDING, shapes=shapes)
        except BaseException:
            self._image.close()
            raise
        self.provider = self._image.provider

    @property
    def why_not_captured(self) -> ByTower:
        """Why runs of each tower could not be captured as CUDA graphs; empty if they could."""
        return ByTower(self._image.why_not_captured, self._text.why_not_captured)

    def fit(self, image_sizes: Sequence[int], text_sizes: Sequence[int]) -> None:
        """On a GPU, keep buffers for batches of these sizes only. On the CPU any size runs as it is."""
        self._image.fit(image_sizes)
        self._text.fit(text_sizes)

    def capture(self, images: Sequence[Pixels], texts: Sequence[InputIds]) -> None:
        """If the encoder `captures`, capture CUDA graphs for the shapes of these batches and verify their
        rows.

        No other call may run meanwhile. Raises EncoderFailed.
        """
        self._image.capture(images)
        self._text.capture(texts)

    def close(self) -> None:
        """On a GPU, free its memory while nothing is captured. No call may run or follow."""
        self._image.close()
        self._text.close()

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._image.run(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """(B, L) int32, padded with the pad_id -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._text.run(input_ids, on_start)
