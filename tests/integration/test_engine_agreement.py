"""An encoder that is to serve in the place of another has its vectors in every shape, or is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.bundle.repository import ModelRepository
from diptych.core.tuning.execution_layout import Plan
from diptych.errors import GoldenMismatch
from diptych.wiring.loading.agreement import require_agreement
from diptych.wiring.loading.bundles import LoadedBundle, load_precision, verify_bundle
from support.tiny_bundle import TINY, write_tiny_bundle

Change = Callable[[Any, Any], Any]  # a batch and its rows -> other rows


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedBundle:
    write_tiny_bundle(tmp_path, precisions={"fp16": "equal"})
    bundle = verify_bundle(ModelRepository(tmp_path).folder(TINY, 1))
    found = load_precision(bundle, "fp16", device="cpu", n_threads=1)
    plan = Plan(n_lanes=1, image_batch_size=8, text_batch_size=4, n_decode_threads=1)
    return LoadedBundle(bundle, "fp16", found.encoder, plan=plan)


class Other:
    """The same encoder, but for what is changed."""

    def __init__(
        self, loaded: LoadedBundle, *, images: Change | None = None, texts: Change | None = None
    ) -> None:
        self._encoder = loaded.encoder
        self._images, self._texts = images, texts

    def encode_image(self, pixels: Any) -> Any:
        rows = self._encoder.encode_image(pixels)
        return self._images(pixels, rows) if self._images else rows

    def encode_text(self, input_ids: Any) -> Any:
        rows = self._encoder.encode_text(input_ids)
        return self._texts(input_ids, rows) if self._texts else rows


def turned(rows: Any, degrees: float) -> Any:
    """Rows whose cosine to the given ones is that of the angle."""
    aside = np.roll(rows, 1, axis=1)
    aside -= np.sum(aside * rows, axis=1, keepdims=True) * rows
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    angle = np.radians(degrees)
    return (np.cos(angle) * rows + np.sin(angle) * aside).astype(np.float32)


def test_same_vectors_agree(loaded: LoadedBundle) -> None:
    require_agreement(loaded, loaded.encoder)


def test_vectors_within_the_bound_of_the_precision_agree(loaded: LoadedBundle) -> None:
    """Of fp16: 0.999, which is 2.56 degrees."""
    require_agreement(loaded, Other(loaded, images=lambda _, rows: turned(rows, 2.5)))  # type: ignore[arg-type]


def pooled_wrong(input_ids: Any, rows: Any) -> Any:
    """A text tower that takes another token's features where texts of different lengths are side by side."""
    lengths = (input_ids != input_ids[:, -1:]).sum(axis=1)
    return np.roll(rows, 1, axis=0) if len(set(lengths.tolist())) > 1 else rows


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"images": lambda _, rows: turned(rows, 2.6)},
            r"images in a batch of 1, item 0: cosine to the encoder that serves is",
        ),
        (
            {"images": lambda batch, rows: -rows if len(batch) == 8 else rows},
            r"images in a batch of 8, item 0: cosine",
        ),
        (
            {"images": lambda batch, rows: turned(rows, 1.0) if len(batch) > 2 else rows},
            r"to the same item in another shape is 0\.99",
        ),
        (
            {"images": lambda _, rows: rows * np.nan},
            r"cosine to the encoder that serves is nan, bound is 0\.999",
        ),
        (
            {"texts": pooled_wrong},
            r"texts of \d+ tokens in a batch of \d, item \d: cosine to the encoder that serves",
        ),
        (
            {"texts": lambda batch, rows: -rows if batch.shape[1] > 16 else rows},
            r"texts of 24 tokens in a batch of 1",
        ),
    ],
    ids=["all", "one size", "by size", "not finite", "pooling", "one length"],
)
def test_vectors_that_differ_are_named_with_shape_and_bound(
    change: dict[str, Change], told: str, loaded: LoadedBundle
) -> None:
    with pytest.raises(GoldenMismatch, match=told):
        require_agreement(loaded, Other(loaded, **change))  # type: ignore[arg-type]
