"""Measure the parity of a precision that has no graphs of its own, and require its bounds."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.onnxruntime.openvino_provider import plugin_version
from diptych.adapters.onnxruntime.processor import machine
from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.bundle.manifest import identity
from diptych.bundle.parity import GoldenParity, broken_bounds
from diptych.errors import GoldenMismatch
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle

METHOD = 1  # incremented when the method of measuring changes: older parities are then discarded

Items = TypeVar("Items", Pixels, InputIds)


def with_golden_parity(loaded: LoadedBundle, n_threads: int, plan_file: PlanFile | None) -> LoadedBundle:
    """Return the precision with its parity, which is measured unless `plan_file` has it.

    A precision that has graphs of its own is returned as it is: the manifest has its parity. Raises
    GoldenMismatch for a parity that breaks the bounds, EncoderFailed.
    """
    manifest, precision = loaded.bundle.manifest, loaded.precision
    if precision in manifest.precisions:
        return loaded
    key = _key(loaded.bundle, precision, n_threads)
    parity = None if plan_file is None else plan_file.get(key, GoldenParity)
    if parity is None:
        parity = _measured(loaded)
        if plan_file is not None:
            plan_file.put(key, parity)
    if broken := broken_bounds(parity, precision):
        raise GoldenMismatch(f"golden outputs: {'; '.join(broken)}")
    return replace(loaded, parity=parity)


def keep_refusal(
    bundle: VerifiedBundle, precision: str, n_threads: int, plan_file: PlanFile | None, error: GoldenMismatch
) -> None:
    """Keep that a precision without graphs of its own misses the golden outputs, in place of its parity."""
    if plan_file is not None and precision not in bundle.manifest.precisions:
        plan_file.put(_key(bundle, precision, n_threads), str(error))


def is_known_to_fail(bundle: VerifiedBundle, precision: str, n_threads: int, plan_file: PlanFile) -> bool:
    """Whether an earlier load of a precision without graphs of its own missed the golden outputs or a bound.

    Raises BundleError where this machine does not offer it.
    """
    key = _key(bundle, precision, n_threads)
    parity = plan_file.known(key, GoldenParity)
    if parity is None:
        return plan_file.known(key, str) is not None
    return bool(broken_bounds(parity, precision))


def _measured(loaded: LoadedBundle) -> GoldenParity:
    golden, encoder = loaded.bundle.golden, loaded.encoder
    images = _cosines(encoder.encode_image, golden.pixels, golden.image_embedding)
    texts = _cosines(encoder.encode_text, golden.input_ids, golden.text_embedding)
    return GoldenParity(
        cosine_min=min(float(to_golden.min()) for to_golden, _ in (images, texts)),
        cosine_mean=min(float(to_golden.mean()) for to_golden, _ in (images, texts)),
        batch_cosine_min=min(float(in_batch.min()) for _, in_batch in (images, texts)),
        n_images=len(golden.pixels),
        n_texts=len(golden.texts),
    )


def _cosines(
    encode: Callable[[Items], Embeddings], items: Items, golden: Embeddings
) -> tuple[Embeddings, Embeddings]:
    """(N, ...), (N, D) -> the cosine of each item in a batch to its golden output, and to itself alone."""
    together = encode(items)
    alone = np.concatenate([encode(items[n : n + 1]) for n in range(len(items))])
    return _cosine(together, golden), _cosine(together, alone)


def _cosine(one: Embeddings, other: Embeddings) -> Embeddings:
    """(N, D), (N, D) -> (N,)."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines: Embeddings = np.sum(one.astype(np.float64) * other, axis=1) / norms
    return cosines


def _key(bundle: VerifiedBundle, precision: str, n_threads: int) -> str:
    parts = (
        METHOD,
        "parity",
        identity(bundle.manifest, precision, "exact"),
        plugin_version(),
        machine(n_threads),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()
