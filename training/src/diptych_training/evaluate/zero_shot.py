"""Zero-shot classification of images by class names.

Radford et al. 2021, section 3.1: the text encoder turns the class names into the weights of a linear
classifier over image embeddings.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, TextEncoder
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.evaluate.embedding import embed_texts
from diptych_training.evaluate.ranking import Accepted, best_ranks, hit_rates, relevance

TOP_K = (1, 5)
Classifier = Callable[[Sequence[str], Sequence[str]], Embeddings]  # classes, templates -> (C, D)


def class_embeddings(
    encoder: TextEncoder, tokenizer: TextTokenizer, classes: Sequence[str], templates: Sequence[str]
) -> Embeddings:
    """C class names -> (C, D) float32 of unit norm: the mean over templates, normalised again."""
    total = sum(
        embed_texts(encoder, tokenizer, [template.replace("{}", name) for name in classes])
        for template in templates
    )
    mean = np.asarray(total, dtype=np.float32) / len(templates)
    normalised: Embeddings = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return normalised


def cached_classifier(encoder: TextEncoder, tokenizer: TextTokenizer) -> Classifier:
    """`class_embeddings` of a model that embeds each list of classes once: all emoji styles share theirs."""
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], Embeddings] = {}

    def classifier(classes: Sequence[str], templates: Sequence[str]) -> Embeddings:
        key = tuple(classes), tuple(templates)
        if key not in known:
            known[key] = class_embeddings(encoder, tokenizer, classes, templates)
        return known[key]

    return classifier


def zero_shot_top_k(
    image_embeddings: Embeddings,
    classifier: Embeddings,
    accepted: Accepted,
    classes: Sequence[str],
    ks: Sequence[int] = TOP_K,
) -> dict[int, float]:
    """(N, D) images against (C, D) classes -> share of images with a right class among the first k, by k."""
    return top_k(image_embeddings @ classifier.T, accepted, classes, ks)


def top_k(
    similarity: NDArray[np.float32], accepted: Accepted, classes: Sequence[str], ks: Sequence[int] = TOP_K
) -> dict[int, float]:
    """(N, C) scores of classes -> share of images with a right class among the first k, by k."""
    return hit_rates(best_ranks(similarity, relevance(accepted, classes)), ks)
