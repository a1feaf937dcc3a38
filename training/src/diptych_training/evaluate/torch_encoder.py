"""A torch model behind the `Encoder` protocol: the reference for exported graphs."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.bundle.manifest import ImageSpec

# A CPU is fastest while what a layer writes stays in its caches. Measured on two cores with `everyday`, at
# 256 px: 37 images a second by four at a time, 25 by 16, 16 by 64.
PIXELS_AT_ONCE = 4 * 256 * 256


class TorchEncoder:
    """Implements `diptych.bundle.encoder.Encoder` with a model, on its device and in its precision.

    The model is any module with CLIP's `encode_image` and `encode_text`, which return features. It runs in
    evaluation mode without gradients, and returns to its former mode afterwards.
    """

    def __init__(
        self, model: nn.Module, image_spec: ImageSpec, photographs: "Photographs | None" = None
    ) -> None:
        """`photographs`: what a tower of photographs and drawings that models share makes of photographs."""
        self._photographs = photographs
        device = next(model.parameters()).device
        self._model = model
        self._mean = torch.tensor(image_spec.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(image_spec.std, device=device).view(1, 3, 1, 1)

    def encode_image(self, pixels: Pixels) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm."""
        n_images, size = pixels.shape[:2]
        at_once = PIXELS_AT_ONCE // size**2 if self._mean.device.type == "cpu" else n_images
        at_once = max(1, at_once)
        starts = range(0, max(1, n_images), at_once)
        return np.concatenate([self._encode_images(pixels[start : start + at_once]) for start in starts])

    def _encode_images(self, pixels: Pixels) -> Embeddings:
        with evaluating(self._model):
            # torch needs writable memory; data sets are memory-mapped
            copied = torch.from_numpy(np.array(pixels))
            # A view in channels_last order, which makes convolutions a quarter faster.
            batch = copied.to(self._mean.device).permute(0, 3, 1, 2)  # (B, 3, S, S) uint8
            normalised = (batch.float() / 255 - self._mean) / self._std
            known = () if self._photographs is None else (self._photographs(self._model, normalised),)
            return _embeddings(self._model.encode_image(normalised, *known))  # type: ignore[operator]

    def encode_text(self, input_ids: InputIds) -> Embeddings:
        """(B, L) int32 -> (B, D) float32 of unit norm."""
        with evaluating(self._model):
            batch = torch.from_numpy(np.array(input_ids)).long().to(self._mean.device)
            return _embeddings(self._model.encode_text(batch))  # type: ignore[operator]


class Photographs:
    """What the part for photographs makes of images, computed once for all models that have the same part."""

    def __init__(self) -> None:
        self._known: dict[bytes, Tensor] = {}  # by the pixels of a batch

    def __call__(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, C)."""
        key = sha256(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy().data).digest()
        if key not in self._known:
            self._known[key] = model.visual.photographs.pooled(pixels)  # type: ignore[union-attr, operator]
        return self._known[key]


def _embeddings(features: Tensor) -> Embeddings:
    embeddings: Embeddings = F.normalize(features.float(), dim=-1).cpu().numpy()
    return embeddings


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run the block in evaluation mode without gradients; the model returns to its former mode."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
