"""Put the parts together: which adapter plays which role, with which numbers. Knows no step of loading."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import numpy as np

from diptych.adapters.faiss_index import FaissFlatIndex, index_thread
from diptych.adapters.image_files import ImageFiles
from diptych.adapters.pillow_decoder import PillowDecoder
from diptych.adapters.prometheus_metrics import PrometheusMetrics
from diptych.adapters.sqlite_store import SqliteStore
from diptych.bundle.image import ImageLimits
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text import pad
from diptych.core.admission import Admission
from diptych.core.batcher import Batcher
from diptych.core.catalogue import Catalogue
from diptych.core.collections import Collections
from diptych.core.embedder import Embedder, image_batch, text_batch
from diptych.core.health import Health
from diptych.core.labels import LabelClassifier
from diptych.core.limits import Limits
from diptych.core.services import Services
from diptych.core.types import InputIds, Pixels
from diptych.settings import Settings
from diptych.wiring.bundles import LoadedBundle


def assemble(settings: Settings, repository: ModelRepository, bundle: LoadedBundle) -> Services:
    """The graph of parts. Opens the data folder: raises DataDirLocked, StoreError, CorruptStore."""
    info, limits, metrics = bundle.info, limits_of(settings), PrometheusMetrics()
    metrics.set_model(info)
    decoder = PillowDecoder(
        bundle.manifest.image,
        ImageLimits(max_bytes=limits.max_image_bytes, max_px=limits.max_image_px),
        n_threads=settings.n_decode_threads or os.cpu_count() or 1,
    )
    images, texts = _batchers(settings, bundle, metrics)
    embedder = Embedder(
        decoder=decoder,
        tokenizer=bundle.tokenizer,
        images=images,
        texts=texts,
        admission=_admission(settings),
        metrics=metrics,
    )
    classifier = LabelClassifier(
        model=info,
        embedder=embedder,
        metrics=metrics,
        max_labels=limits.max_labels,
        max_label_texts=limits.max_label_texts,
        max_cached_labels=settings.label_cache_items,
    )
    health = Health(_canary(bundle), last_success_at=partial(_older_success, images, texts))
    records = SqliteStore(settings.data_dir)  # last: it takes the lock of the data folder
    collections = Collections(
        model=info,
        embedder=embedder,
        decoder=decoder,
        thumbnailer=decoder,
        images=ImageFiles(settings.data_dir),
        records=records,
        new_index=partial(FaissFlatIndex, info.embed_dim, index_thread()),
        metrics=metrics,
        max_metadata_bytes=limits.max_metadata_bytes,
    )
    return Services(
        model=info,
        embedder=embedder,
        classifier=classifier,
        collections=collections,
        catalogue=Catalogue(repository, info),
        health=health,
        metrics=metrics,
        limits=limits,
        started_at=datetime.now(UTC),
    )


def _batchers(
    settings: Settings, bundle: LoadedBundle, metrics: PrometheusMetrics
) -> tuple[Batcher[Pixels], Batcher[InputIds]]:
    return (
        Batcher(
            "image",
            image_batch(bundle.encoder),
            n_bytes=_n_bytes,
            admission=_admission(settings),
            max_batch_size=settings.max_batch_size,
            metrics=metrics,
        ),
        Batcher(
            "text",
            text_batch(bundle.encoder, partial(pad, spec=bundle.manifest.text)),
            n_bytes=_n_bytes,
            admission=_admission(settings),
            max_batch_size=settings.max_batch_size,
            metrics=metrics,
        ),
    )


def _admission(settings: Settings) -> Admission:
    return Admission(max_items=settings.max_queue_items, max_bytes=settings.max_queue_bytes)


def _n_bytes(item: Pixels | InputIds) -> int:
    return int(item.nbytes)


def _canary(bundle: LoadedBundle) -> Callable[[], object]:
    size = bundle.manifest.image.size
    pixels = np.zeros((1, size, size, 3), np.uint8)
    input_ids = bundle.tokenizer(["canary"]).input_ids  # (1, L)
    return lambda: (bundle.encoder.encode_image(pixels), bundle.encoder.encode_text(input_ids))


def _older_success(images: Batcher[Pixels], texts: Batcher[InputIds]) -> float | None:
    """When both encoders had last proven themselves; None until both have."""
    times = (images.last_success_at, texts.last_success_at)
    return None if None in times else min(time for time in times if time is not None)


def limits_of(settings: Settings) -> Limits:
    """The part of the settings that bounds requests."""
    return Limits(
        max_image_bytes=settings.max_image_bytes,
        max_image_px=settings.max_image_px,
        max_items=settings.max_items,
        max_add_items=settings.max_add_items,
        max_labels=settings.max_labels,
        max_predictions=settings.max_predictions,
        max_text_chars=settings.max_text_chars,
        max_body_bytes=settings.max_body_bytes,
        max_k=settings.max_k,
    )
