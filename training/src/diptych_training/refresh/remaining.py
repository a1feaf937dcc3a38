"""How long a refresh takes after its training, from the measured time of one embedded picture."""

import time
from dataclasses import dataclass

import numpy as np
from torch import nn

from diptych.bundle.manifest import ImageSpec
from diptych_training.evaluate.proof_set.samples import N_PARITY_IMAGES
from diptych_training.evaluate.torch_encoder import TorchEncoder

N_TIMED = 64  # pictures, about a second: shorter ones tell what other programs happen to do
# What the export takes beside the reference's embeddings, in pictures that torch embeds: graphs and
# calibration once, and for each precision its graphs and its proof by onnxruntime, which is faster.
N_EXPORT, N_PRECISION = 1_600, 1_500


@dataclass(frozen=True)
class Remaining:
    """What follows the training: `n_mixes` mixes embed `n_pictures` each, and `n_precisions` are exported."""

    n_mixes: int
    n_pictures: int
    n_precisions: int

    def seconds(self, picture_s: float) -> tuple[float, float]:
        """Seconds to judge and to export, if torch takes `picture_s` to embed a picture."""
        n_exported = N_PARITY_IMAGES + N_EXPORT + N_PRECISION * self.n_precisions
        return self.n_mixes * self.n_pictures * picture_s, n_exported * picture_s

    def text(self, picture_s: float) -> str:
        """The end of the line that estimates the training: what else takes time."""
        judge, export = (f"{seconds / 60:.1f}" for seconds in self.seconds(picture_s))
        return f"; then about {judge} min to judge, and roughly {export} min to export with proof"


def embedding_seconds(model: nn.Module, spec: ImageSpec) -> float:
    """Measure what it takes to embed one picture, in batches as judging does."""
    encoder = TorchEncoder(model, spec)
    pixels = np.zeros((N_TIMED, spec.size, spec.size, 3), dtype=np.uint8)
    encoder.encode_image(pixels[: N_TIMED // 4])  # warms up
    started = time.perf_counter()
    encoder.encode_image(pixels)
    return (time.perf_counter() - started) / N_TIMED
