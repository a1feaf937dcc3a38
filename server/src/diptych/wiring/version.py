"""Build a version from a loaded precision: queues, label cache, canaries; and the health check."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.adapters.prometheus import PrometheusMetrics
from diptych.bundle.encoder import OnStart
from diptych.bundle.image.preprocess import DecodeMode
from diptych.bundle.text.tokenizer import pad
from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.concurrency.admission import Admission
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.embedder import Embedder, image_batch_encoder, text_batch_encoder
from diptych.core.encoding.health import PERIOD_S, Health
from diptych.core.limits import Limits
from diptych.core.serving.version import Canary, ReadCalibration, Version
from diptych.core.tuning.precision import Execution
from diptych.core.types import InputIds, Pixels
from diptych.errors import EncoderFailed
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle

# Far more than a batch takes; a model that is slower than that on this machine has the factor.
ENCODE_TIMEOUT_S = 60.0
# Embeddings of single labels that are cached, and half as many in whole lists: 150 MB with 512 numbers each.
# A larger `max_labels` raises it, so that the longest list fits into both.
CACHED_LABELS = 50_000
# A call may take this many times what the largest batch took at the start: the machine may be busy.
TIMEOUT_FACTOR = 10

OnStuck = Callable[[str], None]  # called with the reason when a call of the encoder never returns


def build_version(
    settings: Settings,
    limits: Limits,
    loaded: LoadedBundle,
    workers: ImageWorkers,
    metrics: PrometheusMetrics,
    *,
    decode: DecodeMode,
    execution: Execution,
    read_calibration: ReadCalibration,
    on_stuck: OnStuck,
) -> Version:
    """Build a version of a loaded precision. Each tower starts its threads with its first batch."""
    timeout_s = max(ENCODE_TIMEOUT_S, TIMEOUT_FACTOR * loaded.slowest_batch_s)
    images, texts = _batchers(settings, loaded, metrics, timeout_s=timeout_s, on_stuck=on_stuck)
    embedder = Embedder(
        decoder=workers.decoder(loaded.bundle.manifest.image, decode),
        tokenizer=loaded.bundle.tokenizer,
        images=images,
        texts=texts,
        image_admission=_admission(settings),
        text_admission=_admission(settings),
        metrics=metrics,
    )
    model = loaded.info(decode)
    classifier = LabelClassifier(
        model=model,
        embedder=embedder,
        metrics=metrics,
        max_labels=limits.max_labels,
        max_label_texts=limits.max_label_texts,
        max_cached_labels=max(CACHED_LABELS, 2 * limits.max_labels),
    )
    return Version(
        target=model.target,
        model=model,
        embedder=embedder,
        classifier=classifier,
        canaries=_canaries(loaded),
        batchers=(images, texts),
        timeout_s=timeout_s,
        encoder=loaded.encoder,
        execution=execution,
        weight_bytes=loaded.weight_bytes(),
        tensorrt=loaded.tensorrt,
        read_calibration=read_calibration,
        calibration=read_calibration(),
    )


def health_of(
    loaded: Callable[[], Sequence[Version]], on_stuck: OnStuck, *, period_s: float = PERIOD_S
) -> Health:
    """Build the health check: ready while the canaries of all loaded versions succeed and no call hangs.

    `loaded` returns the versions that are loaded at the moment.
    """

    def run_canaries(on_start: OnStart) -> None:
        for version in loaded():
            successes = [batcher.last_success_at for batcher in version.batchers]
            for at, canary in zip(successes, version.canaries, strict=True):
                if _is_recent(at, period_s):
                    continue
                try:
                    canary(on_start)
                except EncoderFailed:
                    if version in loaded():  # otherwise it was closed while the canary ran
                        raise

    return Health(
        run_canaries,
        last_success_at=lambda: _oldest_success(loaded()),
        problem=lambda: _problems(loaded()),
        timeout_s=lambda: max((version.timeout_s for version in loaded()), default=0.0),
        on_stuck=on_stuck,
        period_s=period_s,
    )


def _is_recent(success_at: float | None, period_s: float) -> bool:
    """Whether a batch succeeded within the period and none failed since: then no canary is needed."""
    return success_at is not None and time.monotonic() - success_at < period_s


def _problems(versions: Sequence[Version]) -> str:
    batchers = [batcher for version in versions for batcher in version.batchers]
    return "; ".join(batcher.problem for batcher in batchers if batcher.problem)


def _oldest_success(versions: Sequence[Version]) -> float | None:
    """Return the time since which every encoder has succeeded at least once; None until all of them have."""
    times = [batcher.last_success_at for version in versions for batcher in version.batchers]
    known = [time for time in times if time is not None]
    return min(known) if len(known) == len(times) else None


def _batchers(
    settings: Settings,
    loaded: LoadedBundle,
    metrics: PrometheusMetrics,
    *,
    timeout_s: float,
    on_stuck: OnStuck,
) -> tuple[Batcher[Pixels], Batcher[InputIds]]:
    """Build the queues of images and of texts, each with the workers and the batch size of the plan."""
    encoder, parallel, plan = loaded.encoder, loaded.parallel_encoder, loaded.plan
    spec, embed_dim = loaded.bundle.manifest.text, loaded.bundle.manifest.embed_dim
    padded = partial(pad, spec=spec)
    return (
        Batcher(
            "image",
            image_batch_encoder(encoder),
            encode_parallel=None if parallel is None else image_batch_encoder(parallel),
            n_workers=plan.n_lanes,
            max_batch_size=plan.image_batch_size,
            embed_dim=embed_dim,
            timeout_s=timeout_s,
            metrics=metrics,
            on_stuck=on_stuck,
        ),
        Batcher(
            "text",
            text_batch_encoder(encoder, padded),
            encode_parallel=None if parallel is None else text_batch_encoder(parallel, padded),
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
    # What waits is in bodies that are held; images of jobs, which are read from files, may take as much.
    return Admission(max_items=settings.max_queue_items, max_bytes=settings.max_inflight_body_bytes)


def _canaries(loaded: LoadedBundle) -> tuple[Canary, Canary]:
    """Return calls that encode one black image and one text, past the queues."""
    size = loaded.bundle.manifest.image.size
    pixels = np.zeros((1, size, size, 3), np.uint8)
    input_ids = loaded.bundle.tokenizer(["canary"]).input_ids  # (1, L)
    return partial(loaded.encoder.encode_image, pixels), partial(loaded.encoder.encode_text, input_ids)
