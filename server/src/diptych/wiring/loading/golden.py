"""Run the golden inputs of a bundle in every shape: to warm an encoder, and to require its golden outputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np

from diptych.bundle.encoder import Embeddings, InputIds, Pixels, StoppableEncoder
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych.bundle.text.tokenizer import pad
from diptych.core.tuning.execution_layout import lengths_up_to, sizes_up_to
from diptych.core.tuning.precision import CPU_PROVIDER
from diptych.errors import GoldenMismatch
from diptych.wiring.loading.bundles import LoadedBundle, ServedEncoder, VerifiedBundle

B = TypeVar("B", Pixels, InputIds)


@dataclass(frozen=True)
class ShapedBatch(Generic[B]):
    """A batch of one tower. `items` are the numbers of its items, which are the same in all shapes."""

    name: str
    items: Sequence[int]
    batch: B


def image_batches(bundle: VerifiedBundle, largest: int) -> Iterator[ShapedBatch[Pixels]]:
    """Yield batches of sizes up to `largest`, filled with the golden images over and over."""
    pixels = bundle.golden.pixels  # (N, S, S, 3)
    for size in sizes_up_to(largest):
        items = [n % len(pixels) for n in range(size)]
        yield ShapedBatch(f"images in a batch of {size}", items, pixels[items])


def text_batches(bundle: VerifiedBundle, largest: int) -> Iterator[ShapedBatch[InputIds]]:
    """Yield batches of several lengths, of sizes up to `largest`: golden texts, a short and the longest text.

    The golden texts come first. A text is in the batches of every length that it fits into.
    """
    spec, tokenizer = bundle.manifest.text, bundle.tokenizer
    texts = [*bundle.golden.texts, "a", "a " * spec.context_length]
    ids = [tokenizer.ids(text)[0] for text in texts]
    lengths = lengths_up_to(spec.context_length) if spec.pad_to == "longest" else (spec.context_length,)
    for length in lengths:
        fitting = [n for n, row in enumerate(ids) if len(row) <= length]
        if not fitting:
            continue
        for size in sizes_up_to(largest):
            items = [fitting[n % len(fitting)] for n in range(size)]
            batch = _padded(pad([ids[n] for n in items], spec), length, spec.pad_id)
            yield ShapedBatch(f"texts of {length} tokens in a batch of {size}", items, batch)


def _padded(input_ids: InputIds, length: int, pad_id: int) -> InputIds:
    """Pad (B, L) to (B, `length`)."""
    return np.pad(input_ids, ((0, 0), (0, length - input_ids.shape[1])), constant_values=pad_id)


FirstRows = dict[int, Embeddings]  # the first embedding of each item, by item number


def require_golden_in_every_shape(
    bundle: VerifiedBundle, precision: str, encoder: StoppableEncoder, largest: int
) -> None:
    """Raise GoldenMismatch that names item, shape, cosine and bound, unless the embeddings are right.

    Each golden item must be as near to its golden output as the precision may be to the model, and the
    embeddings of one item must be equal in all shapes, up to batches of `largest`. Raises EncoderFailed.
    """
    golden, bound = bundle.golden, COSINE_BOUNDS[precision]
    image_rows, text_rows = FirstRows(), FirstRows()
    for images in image_batches(bundle, largest):
        _require(images, encoder.encode_image(images.batch), golden.image_embedding, bound, image_rows)
    for texts in text_batches(bundle, largest):
        _require(texts, encoder.encode_text(texts.batch), golden.text_embedding, bound, text_rows)


def _require(
    shaped: ShapedBatch[B], found: Embeddings, golden: Embeddings, bound: float, first_rows: FirstRows
) -> None:
    for item, row in zip(shaped.items, found, strict=True):
        where = f"{shaped.name}, item {item}"
        if item < len(golden):
            _require_cosine(where, "its golden output", _cosine(row, golden[item]), bound)
        first = first_rows.setdefault(item, row)
        _require_cosine(where, "the same item in another shape", _cosine(row, first), MIN_BATCH_COSINE)


def _cosine(one: Embeddings, other: Embeddings) -> float:
    product = np.dot(one.astype(np.float64), other)
    return float(product / (np.linalg.norm(one) * np.linalg.norm(other)))


def _require_cosine(where: str, other: str, cosine: float, bound: float) -> None:
    if not cosine >= bound:  # written so that NaN fails
        raise GoldenMismatch(f"{where}: cosine to {other} is {cosine:.6f}, bound is {bound}")


def warmed(loaded: LoadedBundle) -> LoadedBundle:
    """Run and time the largest batches once, so that no request pays for allocations and kernel choices.

    GPUs and OpenVINO prepare for each shape: they run many sizes and lengths. Raises EncoderFailed.
    """
    slowest_s = 0.0
    for encoder in filter(None, (loaded.encoder, loaded.parallel_encoder)):
        for run in _runs(loaded, encoder):
            began = perf_counter()
            run()
            slowest_s = max(slowest_s, perf_counter() - began)
    return replace(loaded, slowest_batch_s=slowest_s)


def _runs(loaded: LoadedBundle, encoder: ServedEncoder) -> Iterator[Callable[[], object]]:
    if encoder.provider != CPU_PROVIDER:
        for images in image_batches(loaded.bundle, loaded.plan.image_batch_size):
            yield partial(encoder.encode_image, images.batch)
        for texts in text_batches(loaded.bundle, loaded.plan.text_batch_size):
            yield partial(encoder.encode_text, texts.batch)
        return
    manifest, plan, tokenizer = loaded.bundle.manifest, loaded.plan, loaded.bundle.tokenizer
    size = manifest.image.size
    yield partial(encoder.encode_image, np.zeros((plan.image_batch_size, size, size, 3), np.uint8))
    longest = tokenizer(["a " * manifest.text.context_length]).input_ids  # (1, L)
    yield partial(encoder.encode_text, np.repeat(longest, plan.text_batch_size, axis=0))
