"""The vectors of a version, computed by its own ONNX graphs without the server's pipeline.

expected = VersionVectors(model_repo, "tiny", 2)
expected.image(payload), expected.text("red")          # each (D,), of unit norm
"""

import threading
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer

Vector = NDArray[np.float32]


class VersionVectors:
    """Vectors of one version in float32. Thread-safe; each image and text is encoded once."""

    def __init__(self, model_repo: Path, name: str, version: int) -> None:
        repository = ModelRepository(model_repo)
        folder, self._manifest = repository.folder(name, version), repository.manifest(name, version)
        self._tokenizer = TextTokenizer(folder / "tokenizer.json", self._manifest.text)
        self._images, self._texts = (
            _session(folder / f"{tower}_encoder.onnx") for tower in ("image", "text")
        )
        self._known: dict[bytes | str, Vector] = {}
        self._lock = threading.Lock()

    def image(self, payload: bytes) -> Vector:
        """The vector (D,) of an image file."""
        with self._lock:
            if payload not in self._known:
                pixels = load_pixels(payload, self._manifest.image, ImageLimits())
                self._known[payload] = self._images.run(None, {"pixels": pixels[None]})[0][0]
            return self._known[payload]

    def text(self, text: str) -> Vector:
        """The vector (D,) of a text."""
        with self._lock:
            if text not in self._known:
                ids = self._tokenizer([text]).input_ids
                self._known[text] = self._texts.run(None, {"input_ids": ids})[0][0]
            return self._known[text]


def _session(graph: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
