"""Runs the two ONNX graphs of a bundle with onnxruntime, on the CPU or the GPU."""

from functools import partial
from pathlib import Path

from diptych.adapters.onnxruntime.cuda_provider import require_cuda
from diptych.adapters.onnxruntime.session import Device
from diptych.adapters.onnxruntime.tensorrt_provider import Engines, tensorrt_options
from diptych.adapters.onnxruntime.tower import Port, Tower
from diptych.bundle.encoder import Embeddings, InputIds, OnStart, Pixels

PIXELS = Port("pixels", "tensor(uint8)", 4)  # (B, S, S, 3)
INPUT_IDS = Port("input_ids", "tensor(int32)", 2)  # (B, L)
IMAGE_EMBEDDING = Port("image_embedding", "tensor(float)", 2)  # (B, D)
TEXT_EMBEDDING = Port("text_embedding", "tensor(float)", 2)  # (B, D)


class OnnxEncoder:
    """Both towers of one model on onnxruntime; satisfies `Encoder` and `StoppableEncoder` of the bundle.

    `n_threads` is the size of each graph's thread pool; with 0 onnxruntime chooses (one per core). Calls may
    come from any thread; a stopped call ends after the operator that it is in. Raises ConfigError if
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
        engines: Engines | None = None,
        bf16: bool = False,
    ) -> None:
        """With `engines`, a GPU runs TensorRT, which takes minutes to build those that are missing.

        With `bf16`, OpenVINO runs float32 graphs in bf16 on the CPU; a stopped call ends with its batch.
        """
        self.device_name = None if device == "cpu" else require_cuda().name
        image_options = text_options = None
        if engines is not None:
            image_options = tensorrt_options(PIXELS.name, engines.images, engines.folder / "image")
            text_options = tensorrt_options(INPUT_IDS.name, engines.texts, engines.folder / "text")
        open_tower = partial(Tower, n_threads=n_threads, device=device, bf16=bf16)
        self._image = open_tower(image_file, PIXELS, IMAGE_EMBEDDING, tensorrt=image_options)
        self._text = open_tower(text_file, INPUT_IDS, TEXT_EMBEDDING, tensorrt=text_options)
        self.provider = self._image.provider

    def close(self) -> None:
        """Free the memory, after the last call that runs. Later calls raise EncoderFailed."""
        self._image.close()
        self._text.close()

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._image.run(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """(B, L) int32, padded with the pad_id -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        return self._text.run(input_ids, on_start)
