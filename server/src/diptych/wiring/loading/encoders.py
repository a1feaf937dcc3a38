"""Open the encoder for the graphs of a version: onnxruntime for ONNX files, TensorRT for its plans."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.adapters.onnxruntime.session import Device
from diptych.adapters.tensorrt.encoder import TensorrtEncoder
from diptych.bundle.encoder import ByTower, InputIds, Pixels, StoppableEncoder
from diptych.bundle.manifest import Manifest
from diptych.core.tuning.execution_layout import GPU_BATCH_SIZES, lengths_up_to, sizes_up_to
from diptych.errors import ConfigError


class ServedEncoder(StoppableEncoder, Protocol):
    """Both towers of one precision, and the device that they run on."""

    provider: str
    device_name: str | None  # of the GPU
    text_lengths: tuple[int, ...]  # lengths that texts are padded to on a GPU; empty: no fixed lengths
    captures: bool | None  # whether CUDA graphs are enabled; None where they do not exist

    @property
    def why_not_captured(self) -> ByTower:
        """Why batches of a tower run without CUDA graphs although these are enabled; empty if they do not."""
        ...

    def fit(self, image_sizes: Sequence[int], text_sizes: Sequence[int]) -> None:
        """Prepare for batches of these sizes."""
        ...

    def capture(self, images: Sequence[Pixels], texts: Sequence[InputIds]) -> None:
        """Capture the shapes of these batches as CUDA graphs, if enabled and if their results are right.

        No other call may run or start meanwhile. Raises BundleError, ConfigError.
        """
        ...

    def close(self) -> None:
        """Free GPU memory, at a moment when nothing is being captured. No call may run, or start later."""
        ...


def open_encoder(
    folder: Path,
    manifest: Manifest,
    precision: str,
    *,
    device: Device,
    n_threads: int,
    captures: bool = False,
) -> ServedEncoder:
    """Open both towers of one precision. With `captures`, CUDA batches may run as CUDA graphs.

    Raises BundleError, EncoderFailed, and ConfigError when the device is not available.
    """
    files, text = manifest.precisions[precision], manifest.text
    image_file, text_file = folder / files.image_file, folder / files.text_file
    if manifest.tensorrt is None:
        return OnnxEncoder(
            image_file,
            text_file,
            n_threads=n_threads,
            device=device,
            batch_sizes=sizes_up_to(max(GPU_BATCH_SIZES)),
            text_lengths=lengths_up_to(text.context_length) if text.pad_to == "longest" else (),
            pad_id=text.pad_id,
            captures=captures,
        )
    if device != "cuda":
        raise ConfigError(f"{manifest.name}/{manifest.version} runs only on {manifest.tensorrt}")
    return TensorrtEncoder(image_file, text_file)
