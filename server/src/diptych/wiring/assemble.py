"""Put the parts together: which adapter plays which role, with which numbers. Knows no step of loading."""

from dataclasses import fields, replace
from datetime import UTC, datetime

from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.files.job_files import JobFiles
from diptych.adapters.files.quota import Quota
from diptych.adapters.images.guards import IMAGE_GUARD
from diptych.adapters.images.pillow_decoder import PillowDecoder
from diptych.adapters.prometheus import PrometheusMetrics
from diptych.adapters.sqlite.jobs import SqliteJobs
from diptych.adapters.sqlite.store import SqliteStore
from diptych.adapters.tensorrt.build import build_in_child
from diptych.bundle.image.preprocess import ImageLimits
from diptych.bundle.repository import ModelRepository
from diptych.core.catalogue import Catalogue
from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.collections.service import Collections
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.jobs.runner import MAX_BATCH
from diptych.core.jobs.service import MAX_WAITING, Jobs
from diptych.core.limits import Limits
from diptych.core.ports import EncoderName
from diptych.core.services import Services, Upgrade
from diptych.core.tuning.precision import CPU_PROVIDER, CUDA_PROVIDER, TensorRt
from diptych.core.types import ModelInfo
from diptych.settings import Settings
from diptych.wiring.fetching import image_urls_of
from diptych.wiring.index import new_index_of
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.compatibility import MachineSupport
from diptych.wiring.pipeline import OnStuck, build_engine, health_of
from diptych.wiring.precisions.chosen import ChosenPrecisions
from diptych.wiring.precisions.on_demand import Build, OnDemandPrecisions
from diptych.wiring.precisions.tensorrt_upgrade import TensorRtUpgrade
from diptych.wiring.tuning.planning import decoded_px_of, sharing_of


def assemble(
    settings: Settings,
    repository: ModelRepository,
    served: ChosenPrecisions,
    on_stuck: OnStuck,
    lock: DataLock,
    *,
    here: MachineSupport,
) -> Services:
    """The graph of parts. Opens the data folder, whose lock it is given: raises StoreError, CorruptStore.

    `here` knows which versions cannot be served on this machine.
    """
    limits, metrics = limits_of(settings), PrometheusMetrics()
    decoder = PillowDecoder(
        served.embed.bundle.manifest.image,
        ImageLimits(max_bytes=limits.max_image_bytes, max_px=limits.max_image_px, guard=IMAGE_GUARD),
        n_threads=served.embed.plan.n_decode_threads,
        mode=settings.decode,
        max_decoded_px=decoded_px_of(settings, served.embed.plan, served.embed.encoder.provider),
        n_sharing=sharing_of(settings),
    )

    def build(loaded: LoadedBundle, names: tuple[EncoderName, EncoderName]) -> EncoderPipeline:
        return build_engine(settings, loaded, decoder, metrics, names=names, on_stuck=on_stuck)

    engines = _engines(settings, repository, served, build)
    engines.on_change(lambda loaded: metrics.set_models([_as_it_runs(engine) for engine in loaded]))
    embed, kept = engines.for_requests, engines.for_collections
    # Before the data folder is opened: it may refuse.
    new_index = new_index_of(settings, kept.model.embed_dim)
    classifier = LabelClassifier(
        model=embed.model,
        embedder=embed.embedder,
        metrics=metrics,
        max_labels=limits.max_labels,
        max_label_texts=limits.max_label_texts,
        max_cached_labels=settings.label_cache_items,
    )
    quota = Quota(settings.max_data_bytes)
    records = SqliteStore(settings.data_dir, quota, lock)
    collections = Collections(
        pipelines=engines,
        thumbnailer=decoder,
        images=ImageFiles(settings.data_dir, quota),
        records=records,
        new_index=new_index,
        metrics=metrics,
        write_queue=SerialWriteQueue(),
        max_metadata_bytes=limits.max_metadata_bytes,
    )
    return Services(
        model=embed.model,
        embedder=embed.embedder,
        image_urls=image_urls_of(settings, metrics),
        classifier=classifier,
        pipelines=engines,
        collections=collections,
        jobs=Jobs(
            collections=collections,
            store=SqliteJobs(records.threads),
            inputs=JobFiles(settings.data_dir, quota, MAX_WAITING * limits.max_job_bytes),
            metrics=metrics,
            max_batch=min(MAX_BATCH, kept.embedder.max_images),
            max_metadata_bytes=limits.max_metadata_bytes,
        ),
        catalogue=Catalogue(
            repository,
            embed.model,
            served.serving,
            here.why_not,
            running=lambda: [engine.encoder.running() for engine in engines.loaded()],
        ),
        health=health_of(engines.loaded, on_stuck),
        metrics=metrics,
        limits=limits,
        started_at=datetime.now(UTC),
        upgrades=_upgrades(settings, served, engines),
        close_decoder=decoder.close,
    )


def _engines(
    settings: Settings, repository: ModelRepository, served: ChosenPrecisions, build: Build
) -> PipelinePool:
    """That of requests, that of collections, which may be the same, and what opens those of single ones."""
    requests = build(served.embed, ("image", "text"))
    is_one = served.collections is served.embed
    kept = requests if is_one else build(served.collections, ("collection_image", "collection_text"))
    return PipelinePool(
        requests,
        kept,
        precisions=tuple(served.collections.bundle.manifest.precisions),
        open=OnDemandPrecisions(settings, repository, served.collections, build).open,
    )


def _as_it_runs(engine: EncoderPipeline) -> ModelInfo:
    return replace(engine.model, provider=engine.encoder.running().provider)


def _upgrades(settings: Settings, served: ChosenPrecisions, engines: PipelinePool) -> list[Upgrade]:
    """What moves the precisions of the start to TensorRT, where that is asked for and there is a GPU."""
    if settings.tensorrt == "off":
        return []
    found: list[Upgrade] = []
    pairs = {
        id(one): (one, engine)
        for one, engine in (
            (served.embed, engines.for_requests),
            (served.collections, engines.for_collections),
        )
    }
    for loaded, engine in pairs.values():
        if loaded.encoder.provider == CPU_PROVIDER:
            engine.encoder.set_tensorrt_state(TensorRt("unavailable", "the encoders run on a CPU"))
            continue
        if loaded.encoder.provider != CUDA_PROVIDER:
            engine.encoder.set_tensorrt_state(TensorRt("serving", "this version was built by it"))
            continue
        engine.encoder.set_tensorrt_state(TensorRt("building", "it has not begun"))
        upgrade = TensorRtUpgrade(
            loaded,
            engine.encoder,
            identity=engine.model.identity,
            cache_dir=settings.cache_dir,
            build=build_in_child,
            on_change=engines.changed,
        )
        found.append(upgrade.run)
    return found


def limits_of(settings: Settings) -> Limits:
    """The settings that bound requests, and the limits that are no settings."""
    names = {field.name for field in fields(Limits)} & Settings.model_fields.keys()
    return Limits(**{name: getattr(settings, name) for name in names})
