"""Zero-shot scores of a model without a text tower: how well class names fit images, by its objective."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels
from diptych.bundle.manifest import ImageSpec
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.evaluate.torch_encoder import evaluating
from diptych_training.objectives.predictive import PredictiveModel

Scores = NDArray[np.float32]
BARE = ("{}",)  # the name by itself


def ignore(_: int) -> None:
    """The default callback: no progress report."""


class Scorer:
    """Scores names for images, in evaluation mode without gradients, on the device of the model."""

    def __init__(self, model: PredictiveModel, image_spec: ImageSpec, templates: Sequence[str]) -> None:
        self._model, self._image_spec, self._templates = model, image_spec, templates
        device = next(model.parameters()).device
        self._mean = torch.tensor(image_spec.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(image_spec.std, device=device).view(1, 3, 1, 1)

    def __call__(
        self,
        images: Pixels,
        candidates: Sequence[tuple[Sequence[str], bool]],
        *,
        batch_size: int = 128,
        advance: Callable[[int], object] = ignore,
    ) -> list[Scores]:
        """(N, H, W, 3) uint8 -> (N, C) scores of each list of C names, through the templates or bare."""
        starts = range(0, len(images), batch_size)
        batches = (fit_pixels(images[start : start + batch_size], self._image_spec) for start in starts)
        chosen = [(names, self._templates if in_templates else BARE) for names, in_templates in candidates]
        return self.score_batches(batches, chosen, advance=advance)

    def score_batches(
        self,
        batches: Iterable[Pixels],
        candidates: Sequence[tuple[Sequence[str], Sequence[str]]],
        *,
        advance: Callable[[int], object] = ignore,
    ) -> list[Scores]:
        """Batches of prepared images, N in all -> (N, C) scores of each list of C names in its templates."""
        objective = self._model.objective
        in_templates = [[(tuple(names), one) for one in templates] for names, templates in candidates]
        with evaluating(self._model):  # names in a template are read once, and scored once for each batch
            scorers = {one: objective.name_scorer(*one) for one in chain.from_iterable(in_templates)}
        parts: list[list[Scores]] = [[] for _ in candidates]
        for pixels in batches:
            with evaluating(self._model):
                features = self._features(pixels)
                found = {one: score(features) for one, score in scorers.items()}
                for part, several in zip(parts, in_templates, strict=True):
                    part.append(
                        torch.stack([found[one] for one in several]).mean(dim=0).float().cpu().numpy()
                    )
            advance(len(pixels))
        return [np.concatenate(part) for part in parts]

    def _features(self, pixels: Pixels) -> torch.Tensor:
        batch = torch.from_numpy(np.array(pixels)).to(self._mean.device).permute(0, 3, 1, 2)
        return self._model.features((batch.float() / 255 - self._mean) / self._std)
