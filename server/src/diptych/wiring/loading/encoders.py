"""Open the encoder that a version's graphs are made for: onnxruntime's or TensorRT's. Knows no proof."""

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
    """Both towers of one precision, and where they run."""

    provider: str
    device_name: str | None  # of the GPU
    text_lengths: tuple[int, ...]  # that texts are filled up to there; as long as they are when empty
    captures: bool | None  # whether CUDA graphs were asked for; None where there are none

    @property
    def why_not_captured(self) -> ByTower:
        """Which batches run without, though they were, and why; else empty."""
        ...

    def fit(self, image_sizes: Sequence[int], text_sizes: Sequence[int]) -> None:
        """Batches will have these sizes."""
        ...

    def capture(self, images: Sequence[Pixels], texts: Sequence[InputIds]) -> None:
        """Run the shapes of these batches as CUDA graphs, where it `captures` and those are right.

        No other call runs or comes. Raises BundleError, ConfigError.
        """
        ...

    def close(self) -> None:
        """Give the memory of a GPU back, at a moment in which nothing is captured. No call runs or comes."""
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
    """With `captures` batches of CUDA can run as CUDA graphs.

    Raises BundleError, EncoderFailed, and ConfigError when the device cannot be had.
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
        raise ConfigError(f"{manifest.name}/{manifest.version} runs on {manifest.tensorrt} alone")
    return TensorrtEncoder(image_file, text_file)
