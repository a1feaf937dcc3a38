"""Open the encoder for the graphs of a version."""

from pathlib import Path
from typing import Protocol

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.adapters.onnxruntime.session import Device
from diptych.adapters.onnxruntime.tensorrt_provider import Engines
from diptych.bundle.encoder import StoppableEncoder
from diptych.bundle.manifest import Manifest


class ServedEncoder(StoppableEncoder, Protocol):
    """Both towers of one precision, and the device that they run on."""

    provider: str
    device_name: str | None  # of the GPU

    def close(self) -> None:
        """Free the memory. No call may run, or start later."""
        ...


def open_encoder(
    folder: Path,
    manifest: Manifest,
    precision: str,
    *,
    device: Device,
    n_threads: int,
    engines: Engines | None = None,
) -> ServedEncoder:
    """Open both towers of one precision, with `engines` on TensorRT.

    Raises BundleError, EncoderFailed, and ConfigError when the device is not available.
    """
    files = manifest.precisions[precision]
    image_file, text_file = folder / files.image_file, folder / files.text_file
    return OnnxEncoder(image_file, text_file, n_threads=n_threads, device=device, engines=engines)
