"""Run a loaded precision once at its largest, before anybody waits for it. Knows no settings."""

from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from diptych.core.plan import sizes_up_to
from diptych.core.precision import CPU_PROVIDER
from diptych.wiring.bundles import LoadedBundle


def warmed(loaded: LoadedBundle) -> LoadedBundle:
    """Run the largest batches once, so that no request pays for allocations and kernel choices; timed.

    On a GPU those of each size that it runs in.
    """
    manifest, plan = loaded.bundle.manifest, loaded.plan
    pixels = np.zeros((plan.image_batch_size, manifest.image.size, manifest.image.size, 3), np.uint8)
    longest = loaded.bundle.tokenizer(["a " * manifest.text.context_length]).input_ids  # (1, L)
    input_ids = np.repeat(longest, plan.text_batch_size, axis=0)
    took_s = 0.0
    for encoder in filter(None, (loaded.encoder, loaded.beside)):
        images, texts = (_sizes(encoder.provider, len(items)) for items in (pixels, input_ids))
        runs = [partial(encoder.encode_image, pixels[:size]) for size in images]
        runs += [partial(encoder.encode_text, input_ids[:size]) for size in texts]
        for run in runs:
            began = perf_counter()
            run()
            took_s = max(took_s, perf_counter() - began)
    return replace(loaded, slowest_batch_s=took_s)


def _sizes(provider: str, largest: int) -> tuple[int, ...]:
    return (largest,) if provider == CPU_PROVIDER else sizes_up_to(largest)
