"""Verify the files of a version, and load its encoder in one precision."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.adapters.onnxruntime.session import Device
from diptych.adapters.onnxruntime.tensorrt_provider import Engines
from diptych.bundle.checksums import check_files
from diptych.bundle.encoder import StoppableEncoder
from diptych.bundle.golden import Golden, check_golden, read_golden
from diptych.bundle.image.preprocess import DecodeMode
from diptych.bundle.manifest import (
    GOLDEN_FILE,
    TOKENIZER_FILE,
    Manifest,
    bundle_digest,
    graph_files,
    identity,
    read_manifest,
)
from diptych.bundle.parity import GoldenParity
from diptych.bundle.prompts import with_built_in
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.core.tuning.execution_layout import SINGLE_WORKER_PLAN, Plan
from diptych.core.tuning.precision import TensorRt
from diptych.core.types import ModelInfo
from diptych.errors import CorruptBundle

BF16 = "bf16"


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
    """Open both towers of one precision, with `engines` on TensorRT. OpenVINO runs bf16.

    Raises BundleError, EncoderFailed, and ConfigError when the device is not available.
    """
    files = manifest.graphs(precision)
    image_file, text_file = folder / files.image_file, folder / files.text_file
    in_bf16 = precision == BF16
    return OnnxEncoder(
        image_file, text_file, n_threads=n_threads, device=device, engines=engines, bf16=in_bf16
    )


@dataclass(frozen=True)
class VerifiedBundle:
    """A version whose files all match the checksums of its manifest. None of its graphs is loaded yet.

    `digest` is the sha256 of its manifest.
    """

    folder: Path
    digest: str
    manifest: Manifest
    tokenizer: TextTokenizer
    golden: Golden


@dataclass(frozen=True)
class LoadedBundle:
    """A verified version, loaded and proven on this machine in one precision.

    `parallel_encoder` is the same encoder with fewer threads, for the batches that run side by side when
    `plan` has several workers. `slowest_batch_s` is how long the largest batch took; 0 until it is measured.
    `tensorrt` is None where it is not requested, `parity` where the manifest has it.
    """

    bundle: VerifiedBundle
    precision: str
    encoder: ServedEncoder
    parallel_encoder: ServedEncoder | None = None
    plan: Plan = SINGLE_WORKER_PLAN
    slowest_batch_s: float = 0.0
    tensorrt: TensorRt | None = None
    parity: GoldenParity | None = None

    def info(self, decode: DecodeMode) -> ModelInfo:
        """Return the description of the model for the domain, for images decoded in this mode."""
        manifest = self.bundle.manifest
        return ModelInfo(
            name=manifest.name,
            version=manifest.version,
            precision=self.precision,
            decode=decode,
            identity=identity(manifest, self.precision, decode),
            provider=self.encoder.provider,
            family=manifest.family,
            embed_dim=manifest.embed_dim,
            context_length=manifest.text.context_length,
            logit_scale=manifest.logit_scale,
            logit_bias=manifest.logit_bias,
            image_size=manifest.image.size,
            prompts=with_built_in(manifest.text.prompts),
            bundle=self.bundle.digest,
            matryoshka_dimensions=manifest.matryoshka_dimensions,
        )

    def weight_bytes(self) -> int:
        """Return about what the weights take in memory: the size of the graphs, once for each encoder."""
        manifest = self.bundle.manifest
        graphs = manifest.graphs(self.precision)
        files = {
            file for graph in (graphs.image_file, graphs.text_file) for file in graph_files(manifest, graph)
        }
        n_encoders = 1 if self.parallel_encoder is None else 2
        return n_encoders * sum(manifest.files[file].bytes for file in files)


def verify_bundle(folder: Path) -> VerifiedBundle:
    """Read and verify every file of a version. Raises BundleError naming the file."""
    try:
        manifest, digest = read_manifest(folder), bundle_digest(folder)
        check_files(folder, manifest.files)
    except OSError as error:
        raise CorruptBundle(
            f"{folder.parent.name}/{folder.name}: cannot be read: {error.strerror}"
        ) from error
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, manifest.text)
    return VerifiedBundle(folder, digest, manifest, tokenizer, read_golden(folder / GOLDEN_FILE))


def load_precision(bundle: VerifiedBundle, precision: str, *, device: Device, n_threads: int) -> LoadedBundle:
    """Load both graphs on this very device and require that they reproduce the golden outputs.

    Raises BundleError, EncoderFailed, and ConfigError when the device is not available.
    """
    encoder = open_encoder(bundle.folder, bundle.manifest, precision, device=device, n_threads=n_threads)
    try:
        check_golden(bundle.golden, bundle.manifest, precision, bundle.tokenizer, encoder)
    except BaseException:
        encoder.close()
        raise
    return LoadedBundle(bundle, precision, encoder)
