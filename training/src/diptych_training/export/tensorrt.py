"""Compile a version's graphs with onnxruntime's TensorRT provider, for the GPU of this machine.

A compiled model is an ONNX file with one EPContext operator, which holds the engine. Any program can run it
with onnxruntime's TensorRT provider, on the same GPU model and with the same release of TensorRT. Servers
build engines of their own (`diptych check --tensorrt`). Written against onnxruntime's documentation; not yet
run on a GPU.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime as ort

from diptych.adapters.onnxruntime import tensorrt_provider
from diptych.adapters.onnxruntime.cuda_provider import CUDA_OPTIONS, CUDA_PROVIDER
from diptych.adapters.onnxruntime.encoder import IMAGE_EMBEDDING, INPUT_IDS, PIXELS, TEXT_EMBEDDING
from diptych.adapters.onnxruntime.tensorrt_provider import (
    TENSORRT_PROVIDER,
    Shapes,
    compiling_options,
    image_shapes,
    text_shapes,
)
from diptych.adapters.onnxruntime.tower import Port, Tower
from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.bundle.golden import check_golden, read_golden
from diptych.bundle.manifest import GOLDEN_FILE, TOKENIZER_FILE
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import ExportError
from diptych_training.progress import Reporter

PRECISIONS = ("fp32", "fp16")  # int8 graphs are made for CPUs
MAX_BATCH = 256


def compile_version(
    repository: ModelRepository, name: str, version: int, folder: Path, report: Reporter
) -> list[Path]:
    """Write compiled models of each precision into `folder` and return the files.

    They must reproduce the golden outputs. Raises ConfigError without a GPU or TensorRT, ExportError if
    TensorRT does not take a whole graph, BundleError, GoldenMismatch, EncoderFailed.
    """
    release = tensorrt_provider.require_tensorrt()
    manifest, source = repository.verify(name, version), repository.folder(name, version)
    golden = read_golden(source / GOLDEN_FILE)
    tokenizer = TextTokenizer(source / TOKENIZER_FILE, manifest.text)
    images = image_shapes(manifest.image.size, MAX_BATCH)
    texts = text_shapes(manifest.text.lengths, MAX_BATCH)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for precision in [one for one in PRECISIONS if one in manifest.precisions]:
        files = manifest.precisions[precision]
        report(f"compiling {name}/{version} in {precision} with TensorRT {release}, which takes minutes")
        with TemporaryDirectory(dir=folder) as scratch:
            image = _compile(source / files.image_file, Path(scratch), PIXELS, IMAGE_EMBEDDING, images)
            text = _compile(source / files.text_file, Path(scratch), INPUT_IDS, TEXT_EMBEDDING, texts)
            check_golden(golden, manifest, precision, tokenizer, CompiledEncoder(image, text))
            written += [file.replace(folder / file.name) for file in (image, text)]
    return written


class CompiledEncoder:
    """Runs two compiled models; satisfies `Encoder` of the bundle."""

    def __init__(self, image_file: Path, text_file: Path) -> None:
        providers = [(TENSORRT_PROVIDER, {"device_id": 0}), (CUDA_PROVIDER, CUDA_OPTIONS)]
        self._image, self._text = (
            ort.InferenceSession(str(file), providers=providers, enable_fallback=0)
            for file in (image_file, text_file)
        )

    def encode_image(self, pixels: Pixels) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm."""
        rows: Embeddings = self._image.run([IMAGE_EMBEDDING.name], {PIXELS.name: pixels})[0]
        return rows

    def encode_text(self, input_ids: InputIds) -> Embeddings:
        """(B, L) int32 -> (B, D) float32 of unit norm."""
        rows: Embeddings = self._text.run([TEXT_EMBEDDING.name], {INPUT_IDS.name: input_ids})[0]
        return rows


def _compile(graph: Path, folder: Path, source: Port, target: Port, shapes: Shapes) -> Path:
    file = folder / f"{graph.stem}_ctx.onnx"
    options = compiling_options(source.name, shapes, file)
    Tower(graph, source, target, n_threads=1, device="cuda", tensorrt=options).close()
    if not file.is_file():
        raise ExportError(
            f"onnxruntime compiled no model of {graph.name}: "
            "it writes one only if TensorRT takes the whole graph"
        )
    return file
