"""The queues and the embedder in front of one loaded precision. Knows nothing of who asks for embeddings."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from diptych.adapters.images.pillow_decoder import PillowDecoder
from diptych.adapters.prometheus import PrometheusMetrics
from diptych.bundle.encoder import OnStart
from diptych.bundle.text.tokenizer import pad
from diptych.core.concurrency.admission import Admission
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.embedder import Embedder, image_batch_encoder, text_batch_encoder
from diptych.core.encoding.health import PERIOD_S, Health
from diptych.core.encoding.pipeline import Canary, EncoderPipeline
from diptych.core.encoding.swappable_encoder import SwappableEncoder
from diptych.core.ports import EncoderName
from diptych.core.types import InputIds, Pixels
from diptych.errors import EncoderFailed
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle

SLACK = 10  # a call may take so many times what the largest batch took at the start: the machine may be busy

OnStuck = Callable[[str], None]  # hears why the encoder is lost


def build_engine(
    settings: Settings,
    loaded: LoadedBundle,
    decoder: PillowDecoder,
    metrics: PrometheusMetrics,
    *,
    names: tuple[EncoderName, EncoderName],
    on_stuck: OnStuck,
) -> EncoderPipeline:
    """Starts threads for each tower on its first batches. `names` is what metrics call the two towers."""
    timeout_s = max(settings.encode_timeout_s, SLACK * loaded.slowest_batch_s)
    runner = SwappableEncoder(loaded.encoder, loaded.running, loaded.encoder.close)
    images, texts = _batchers(
        settings, loaded, runner, metrics, names, timeout_s=timeout_s, on_stuck=on_stuck
    )
    embedder = Embedder(
        decoder=decoder,
        tokenizer=loaded.bundle.tokenizer,
        images=images,
        texts=texts,
        image_admission=_admission(settings),
        text_admission=_admission(settings),
        metrics=metrics,
    )
    return EncoderPipeline(
        loaded.info(settings.decode), embedder, _canaries(loaded, runner), (images, texts), timeout_s, runner
    )


def health_of(
    loaded: Callable[[], Sequence[EncoderPipeline]], on_stuck: OnStuck, *, period_s: float = PERIOD_S
) -> Health:
    """Ready while the canaries of all engines that are loaded answer and none of their calls hangs."""

    def ask_all(on_start: OnStart) -> None:
        for engine in loaded():
            successes = [batcher.last_success_at for batcher in engine.batchers]
            for at, canary in zip(successes, engine.canaries, strict=True):
                if _is_proof(at, period_s):
                    continue
                try:
                    canary(on_start)
                except EncoderFailed:
                    if engine in loaded():  # else it was closed meanwhile
                        raise

    return Health(
        ask_all,
        last_success_at=lambda: _oldest_success(loaded()),
        problem=lambda: _problem(loaded()),
        timeout_s=max(engine.timeout_s for engine in loaded()),
        on_stuck=on_stuck,
        period_s=period_s,
    )


def _is_proof(at: float | None, period_s: float) -> bool:
    """A batch succeeded then, and none failed since: where images alone come, texts alone are asked."""
    return at is not None and time.monotonic() - at < period_s


def _problem(engines: Sequence[EncoderPipeline]) -> str:
    return "; ".join(batcher.problem for engine in engines for batcher in engine.batchers if batcher.problem)


def _oldest_success(engines: Sequence[EncoderPipeline]) -> float | None:
    """When all encoders had last proven themselves; None until all have."""
    times = [batcher.last_success_at for engine in engines for batcher in engine.batchers]
    known = [time for time in times if time is not None]
    return min(known) if len(known) == len(times) else None


def _batchers(
    settings: Settings,
    loaded: LoadedBundle,
    runner: SwappableEncoder,
    metrics: PrometheusMetrics,
    names: tuple[EncoderName, EncoderName],
    *,
    timeout_s: float,
    on_stuck: OnStuck,
) -> tuple[Batcher[Pixels], Batcher[InputIds]]:
    image_name, text_name = names
    manifest, beside, plan = loaded.bundle.manifest, loaded.beside, loaded.plan
    spec, embed_dim = manifest.text, manifest.embed_dim
    padded = partial(pad, spec=spec)
    return (
        Batcher(
            image_name,
            image_batch_encoder(runner),
            encode_parallel=None if beside is None else image_batch_encoder(beside),
            n_workers=plan.n_lanes,
            max_batch_size=plan.image_batch_size,
            embed_dim=embed_dim,
            timeout_s=timeout_s,
            metrics=metrics,
            on_stuck=on_stuck,
        ),
        Batcher(
            text_name,
            text_batch_encoder(runner, padded),
            encode_parallel=None if beside is None else text_batch_encoder(beside, padded),
            n_workers=plan.n_lanes,
            size_of=len if spec.pad_to == "longest" else None,
            max_batch_size=plan.text_batch_size,
            embed_dim=embed_dim,
            timeout_s=timeout_s,
            metrics=metrics,
            on_stuck=on_stuck,
        ),
    )


def _admission(settings: Settings) -> Admission:
    return Admission(max_items=settings.max_queue_items, max_bytes=settings.max_queue_bytes)


def _canaries(loaded: LoadedBundle, runner: SwappableEncoder) -> tuple[Canary, Canary]:
    size = loaded.bundle.manifest.image.size
    pixels = np.zeros((1, size, size, 3), np.uint8)
    input_ids = loaded.bundle.tokenizer(["canary"]).input_ids  # (1, L)
    return partial(runner.encode_image, pixels), partial(runner.encode_text, input_ids)
