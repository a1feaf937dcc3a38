"""Use case "classify": images against a list of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.classification.scoring import normalised
from diptych.core.encoding.embed import embed_items
from diptych.core.encoding.embedder import Embedder
from diptych.core.encoding.vector_checks import check_origin, check_vector
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls, ReserveBytes
from diptych.core.types import Embedding, ModelInfo, Prediction, StoredImage, VectorOrigin
from diptych.errors import InputError, InvalidValue, NotFound

DEFAULT_TEMPLATES = "default"


class StoredImages(Protocol):
    """The images of collections."""

    async def vector_or_file(
        self, name: str, id: str, model: ModelInfo, reserve: ReserveBytes
    ) -> Embedding | bytes:
        """The embedding (D,) of an image of the collection `name` if `model` made one, or else its file.

        Calls `reserve` with the size of the file before it holds the bytes. Raises NotFound, Conflict.
        """
        ...


@dataclass(frozen=True)
class ClassifyInput:
    """N images and C labels. `templates` are templates, or the name of a template set of the model.

    An image is a file, a URL, an image of a collection, or an embedding (D,) that the model `origin` made.
    Errors name `images[i]`, `labels[i]` and `templates`.
    """

    images: Sequence[bytes | ImageUrl | StoredImage | Embedding]
    labels: Sequence[str]
    templates: Sequence[str] | str = DEFAULT_TEMPLATES
    multi_label: bool = False
    top_k: int | None = None
    origin: VectorOrigin | None = None


async def classify_images(
    request: ClassifyInput,
    *,
    image_urls: ImageUrls,
    embedder: Embedder,
    classifier: LabelClassifier,
    stored: StoredImages,
    reserve: ReserveBytes,
) -> list[list[Prediction]]:
    """N images -> N lists of predictions, each best first, at most `top_k` long.

    Raises Conflict for embeddings of another model; NotFound for a stored image; InvalidValue; and what
    `embed_items` and `LabelClassifier.classify` raise.
    """
    model = classifier.model
    if request.origin is not None:
        check_origin(request.origin, model, "serves")
    templates = choose_templates(request.templates, classifier.prompts)
    items: list[bytes | ImageUrl | Embedding] = []
    for i, image in enumerate(request.images):
        try:
            items.append(await _found(image, model, stored, reserve))
        except (InputError, NotFound) as error:
            raise error.named(f"images[{i}]") from None
    rows = await embed_items(
        items, "images", image_urls=image_urls, embedder=embedder, reserve=reserve
    )  # N of (D,)
    return await classifier.classify(
        np.stack([row.embedding for row in rows]),  # (N, D)
        request.labels,
        templates,
        multi_label=request.multi_label,
        top_k=request.top_k,
    )


async def _found(
    image: bytes | ImageUrl | StoredImage | Embedding,
    model: ModelInfo,
    stored: StoredImages,
    reserve: ReserveBytes,
) -> bytes | ImageUrl | Embedding:
    """The image with what is stored of it; a given embedding (D,) is checked and scaled to unit norm."""
    if isinstance(image, np.ndarray):
        check_vector(image, model.embed_dim)
        return normalised(image)
    if isinstance(image, StoredImage):
        assert image.collection is not None, "the caller names it"
        return await stored.vector_or_file(image.collection, image.id, model, reserve)
    return image


def choose_templates(templates: Sequence[str] | str, prompts: Mapping[str, tuple[str, ...]]) -> Sequence[str]:
    """Return the templates themselves, or those of the set that is named. Raises InvalidValue."""
    if not isinstance(templates, str):
        return templates
    if templates not in prompts:
        raise InvalidValue(
            f"there is no template set {templates[:100]!r}, only {', '.join(prompts)}", "templates"
        )
    return prompts[templates]
