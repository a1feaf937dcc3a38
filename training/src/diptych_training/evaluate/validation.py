"""Validation during training: zero-shot accuracy on validation sources, averaged by kind."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from statistics import fmean

import numpy as np

from diptych.bundle.encoder import Encoder
from diptych.bundle.manifest import ImageSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.evaluate.embedding import embed_images
from diptych_training.evaluate.ranking import accepted_labels
from diptych_training.evaluate.scoring import Scorer
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.evaluate.zero_shot import class_embeddings, top_k, zero_shot_top_k
from diptych_training.objectives.predictive import PredictiveModel, TrainedModel


def validate(
    model: TrainedModel,
    tokenizer: TextTokenizer,
    dataset: PackedDataset,
    image_spec: ImageSpec,
    *,
    templates: Sequence[str] = ("{}",),
    split: str = "validation",
) -> dict[str, float]:
    """Means over the sources of each kind: `emoji_top1, emoji_top5, icons_top1, icons_top5`.

    A kind without sources in the split is left out. The model returns to its former mode afterwards.
    """
    if isinstance(model, PredictiveModel):
        measure = partial(_top_k_of_scores, Scorer(model, image_spec, templates), model.objective.n_validated)
    else:
        measure = partial(_top_k, TorchEncoder(model, image_spec), tokenizer, image_spec, templates)
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for source in dataset.sources(split):
        for k, value in measure(source).items():
            scores[f"{source.kind}_top{k}"].append(value)
    return {name: fmean(values) for name, values in sorted(scores.items())}


def source_classes(source: PackedSource) -> list[str]:
    """The classes among which an image of this source is classified: all emoji, or the set's own labels."""
    if source.kind == "emoji":
        return emoji_classes()
    return sorted({item.label for item in source.items})


def _top_k(
    encoder: Encoder,
    tokenizer: TextTokenizer,
    image_spec: ImageSpec,
    templates: Sequence[str],
    source: PackedSource,
) -> dict[int, float]:
    classes = source_classes(source)
    images = embed_images(encoder, source.images, image_spec)  # (N, D)
    classifier = class_embeddings(encoder, tokenizer, classes, templates)  # (C, D)
    accepted = accepted_labels(source.images, [item.label for item in source.items])
    return zero_shot_top_k(images, classifier, accepted, classes)


def _top_k_of_scores(scorer: Scorer, n_images: int | None, source: PackedSource) -> dict[int, float]:
    """The same without a text tower, for all images or `n_images` of them, evenly spread."""
    n = len(source.items)
    chosen = np.unique(np.linspace(0, n - 1, min(n, n_images or n)).astype(int))
    images, classes = source.images[chosen], source_classes(source)
    (scores,) = scorer(images, [(classes, True)])
    return top_k(scores, accepted_labels(images, [source.items[index].label for index in chosen]), classes)
