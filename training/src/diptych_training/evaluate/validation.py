"""Validation during training: zero-shot accuracy on validation sources, averaged by kind."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from diptych.bundle.encoder import Encoder
from diptych.bundle.manifest import ImageSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.evaluate.embedding import embed_images
from diptych_training.evaluate.ranking import accepted_labels
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.evaluate.zero_shot import class_embeddings, zero_shot_top_k
from diptych_training.models.clip import CLIP


def validate(
    model: CLIP,
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
    encoder = TorchEncoder(model, image_spec)
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for source in dataset.sources(split):
        for k, value in _top_k(encoder, tokenizer, source, image_spec, templates).items():
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
    source: PackedSource,
    image_spec: ImageSpec,
    templates: Sequence[str],
) -> dict[int, float]:
    classes = source_classes(source)
    images = embed_images(encoder, source.images, image_spec)  # (N, D)
    classifier = class_embeddings(encoder, tokenizer, classes, templates)  # (C, D)
    accepted = accepted_labels(source.images, [item.label for item in source.items])
    return zero_shot_top_k(images, classifier, accepted, classes)
