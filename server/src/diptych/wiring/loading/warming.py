"""Run a loaded precision once in its largest shapes, so that the first requests are not slow."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from diptych.core.tuning.precision import CPU_PROVIDER
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.encoders import ServedEncoder
from diptych.wiring.loading.golden_batches import image_batches, text_batches


def warmed(loaded: LoadedBundle) -> LoadedBundle:
    """Run and time the largest batches once, so that no request pays for allocations and kernel choices.

    A GPU runs batches of many sizes and lengths instead. Raises EncoderFailed.
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
