"""Run a loaded precision once at its largest, before anybody waits for it. Knows no settings."""

from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from diptych.wiring.bundles import LoadedBundle


def warmed(loaded: LoadedBundle) -> LoadedBundle:
    """Run the largest batches once, so that no request pays for allocations and kernel choices; timed."""
    manifest, plan = loaded.bundle.manifest, loaded.plan
    pixels = np.zeros((plan.image_batch_size, manifest.image.size, manifest.image.size, 3), np.uint8)
    longest = loaded.bundle.tokenizer(["a " * manifest.text.context_length]).input_ids  # (1, L)
    input_ids = np.repeat(longest, plan.text_batch_size, axis=0)
    took_s = 0.0
    for encoder in filter(None, (loaded.encoder, loaded.beside)):
        for run in (partial(encoder.encode_image, pixels), partial(encoder.encode_text, input_ids)):
            began = perf_counter()
            run()
            took_s = max(took_s, perf_counter() - began)
    return replace(loaded, slowest_batch_s=took_s)
