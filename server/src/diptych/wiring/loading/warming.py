"""Run a loaded precision once in its largest shapes, so that the first requests are not slow."""

from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from diptych.bundle.encoder import InputIds
from diptych.bundle.golden import check_golden
from diptych.core.tuning.execution_layout import sizes_up_to
from diptych.core.tuning.precision import CPU_PROVIDER
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.encoders import ServedEncoder
from diptych.wiring.loading.golden_batches import image_batches, text_batches


def warmed(loaded: LoadedBundle) -> LoadedBundle:
    """Run and time the largest batches once, so that no request pays for allocations and kernel choices.

    A GPU runs batches of each size and texts of each length instead, and then captures them as CUDA graphs.
    Raises GoldenMismatch, EncoderFailed, and the errors of a session that has to be opened again.
    """
    manifest, plan = loaded.bundle.manifest, loaded.plan
    pixels = np.zeros((plan.image_batch_size, manifest.image.size, manifest.image.size, 3), np.uint8)
    slowest_s = 0.0
    for encoder in filter(None, (loaded.encoder, loaded.parallel_encoder)):
        images, texts = (
            _sizes(encoder.provider, size) for size in (plan.image_batch_size, plan.text_batch_size)
        )
        runs = [partial(encoder.encode_image, pixels[:size]) for size in images]
        for input_ids in _texts(loaded, encoder):  # (1, L)
            runs += [partial(encoder.encode_text, np.repeat(input_ids, size, axis=0)) for size in texts]
        for run in runs:
            began = perf_counter()
            run()
            slowest_s = max(slowest_s, perf_counter() - began)
        if encoder.captures:
            _capture(loaded, encoder)
    return replace(loaded, slowest_batch_s=slowest_s)


def _capture(loaded: LoadedBundle, encoder: ServedEncoder) -> None:
    bundle = loaded.bundle
    encoder.capture(
        [images.batch for images in image_batches(loaded)], [texts.batch for texts in text_batches(loaded)]
    )
    check_golden(bundle.golden, bundle.manifest, loaded.precision, bundle.tokenizer, encoder)


def _texts(loaded: LoadedBundle, encoder: ServedEncoder) -> list[InputIds]:
    """Return one text (1, L) of the largest length; for a GPU, one text of each length that it runs in."""
    spec, tokenizer = loaded.bundle.manifest.text, loaded.bundle.tokenizer
    longest = tokenizer(["a " * spec.context_length]).input_ids
    if encoder.provider == CPU_PROVIDER:
        return [longest]
    shortest = tokenizer(["a"]).input_ids
    paddings = [length - shortest.shape[1] for length in encoder.text_lengths]
    padded = [np.pad(shortest, ((0, 0), (0, n)), constant_values=spec.pad_id) for n in paddings if n >= 0]
    return [*padded, longest]


def _sizes(provider: str, largest: int) -> tuple[int, ...]:
    return (largest,) if provider == CPU_PROVIDER else sizes_up_to(largest)
