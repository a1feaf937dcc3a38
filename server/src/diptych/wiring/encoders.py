"""Open the encoder that a version's graphs are made for: onnxruntime's or TensorRT's. Knows no proof."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from diptych.adapters.onnx_encoder import OnnxEncoder
from diptych.adapters.onnx_session import Device
from diptych.adapters.tensorrt_encoder import TensorrtEncoder
from diptych.bundle.encoder import StoppableEncoder
from diptych.bundle.manifest import Manifest
from diptych.core.plan import GPU_BATCH_SIZES, sizes_up_to
from diptych.errors import ConfigError


class ServedEncoder(StoppableEncoder, Protocol):
    """Both towers of one precision, and where they run."""

    provider: str
    device_name: str | None  # of the GPU

    def fit(self, image_sizes: Sequence[int], text_sizes: Sequence[int]) -> None:
        """Batches will have these sizes."""
        ...


def open_encoder(
    folder: Path, manifest: Manifest, precision: str, *, device: Device, n_threads: int
) -> ServedEncoder:
    """Raises BundleError, EncoderFailed, and ConfigError when the device cannot be had."""
    files = manifest.precisions[precision]
    image_file, text_file = folder / files.image_file, folder / files.text_file
    if manifest.tensorrt is None:
        sizes = sizes_up_to(max(GPU_BATCH_SIZES))
        return OnnxEncoder(image_file, text_file, n_threads=n_threads, device=device, batch_sizes=sizes)
    if device != "cuda":
        raise ConfigError(f"{manifest.name}/{manifest.version} runs on {manifest.tensorrt} alone")
    return TensorrtEncoder(image_file, text_file)
