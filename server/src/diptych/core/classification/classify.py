"""Use case "classify": images against a list of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.encoding.embed import embed_items
from diptych.core.encoding.embedder import Embedder
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls, ReserveBytes
from diptych.core.types import Prediction
from diptych.errors import InvalidValue

DEFAULT_TEMPLATES = "default"


@dataclass(frozen=True)
class ClassifyInput:
    """N images and C labels. `templates` are templates, or the name of a template set of the model.

    Errors name `images[i]`, `labels[i]` and `templates`.
    """

    images: Sequence[bytes | ImageUrl]
    labels: Sequence[str]
    templates: Sequence[str] | str = DEFAULT_TEMPLATES
    multi_label: bool = False
    top_k: int | None = None


async def classify_images(
    asked: ClassifyInput,
    *,
    image_urls: ImageUrls,
    embedder: Embedder,
    classifier: LabelClassifier,
    reserve: ReserveBytes,
) -> list[list[Prediction]]:
    """N images -> N lists of predictions, each best first, at most `top_k` long. Raises InvalidValue.

    Raises what `embed_items` and `LabelClassifier.classify` raise.
    """
    templates = choose_templates(asked.templates, classifier.prompts)
    rows = await embed_items(
        asked.images, "images", image_urls=image_urls, embedder=embedder, reserve=reserve
    )  # N of (D,)
    return await classifier.classify(
        np.stack([row.embedding for row in rows]),  # (N, D)
        asked.labels,
        templates,
        multi_label=asked.multi_label,
        top_k=asked.top_k,
    )


def choose_templates(templates: Sequence[str] | str, prompts: Mapping[str, tuple[str, ...]]) -> Sequence[str]:
    """Return the templates themselves, or those of the set that is named. Raises InvalidValue."""
    if not isinstance(templates, str):
        return templates
    if templates not in prompts:
        raise InvalidValue(
            f"there is no template set {templates[:100]!r}, only {', '.join(prompts)}", "templates"
        )
    return prompts[templates]
