"""Assemble the services of a server: which adapter plays which role, with which limits."""

from dataclasses import fields, replace
from datetime import UTC, datetime

from diptych.adapters.bundle_upload import BundleUploads
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.files.job_files import JobFiles
from diptych.adapters.files.quota import Quota
from diptych.adapters.images.guards import IMAGE_GUARD
from diptych.adapters.images.pillow_decoder import ImageWorkers
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
from diptych.core.push import Pushes
from diptych.core.services import Services, Upgrade
from diptych.core.tuning.precision import CPU_PROVIDER, CUDA_PROVIDER, TensorRt
from diptych.core.types import ModelInfo
from diptych.settings import Settings
from diptych.wiring.fetching import image_urls_of
from diptych.wiring.index import new_index_of
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.compatibility import MachineSupport
from diptych.wiring.pipeline import OnStuck, build_pipeline, health_of
from diptych.wiring.precisions.chosen import ChosenPrecisions
from diptych.wiring.precisions.on_demand import BuildPipeline, OnDemandPrecisions
from diptych.wiring.precisions.tensorrt_upgrade import TensorRtUpgrade
from diptych.wiring.tuning.planning import max_decoded_px, resize_threads


def assemble(
    settings: Settings,
    repository: ModelRepository,
    chosen: ChosenPrecisions,
    support: MachineSupport,
    lock: DataLock,
    *,
    on_stuck: OnStuck,
) -> Services:
    """Connect the loaded precisions, the data folder and the adapters to each other.

    Opens the data folder, which `lock` already guards. `support` tells which other versions cannot be served
    on this machine. Raises StoreError, CorruptStore, and ConfigError when a required GPU is missing.
    """
    limits, metrics = limits_of(settings), PrometheusMetrics()
    workers = _image_workers(settings, limits, chosen.embed)

    def build(loaded: LoadedBundle, names: tuple[EncoderName, EncoderName]) -> EncoderPipeline:
        return build_pipeline(settings, loaded, workers, metrics, names=names, on_stuck=on_stuck)

    pipelines = _pipeline_pool(settings, repository, chosen, build)
    pipelines.on_change(lambda loaded: metrics.set_models([_running_model(one) for one in loaded]))
    requests = pipelines.for_requests
    metrics.set_active(requests.model.name)
    # Before the data folder is opened, since it may fail.
    new_index = new_index_of(settings)
    quota = Quota(settings.max_data_bytes)
    store = SqliteStore(settings.data_dir, quota, lock)
    collections = Collections(
        pipelines=pipelines,
        thumbnailer=workers,
        images=ImageFiles(settings.data_dir, quota),
        records=store,
        new_index=lambda: new_index(pipelines.for_collections.model.embed_dim),
        metrics=metrics,
        write_queue=SerialWriteQueue(),
        max_metadata_bytes=limits.max_metadata_bytes,
    )
    return Services(
        model=requests.model,
        embedder=requests.embedder,
        image_urls=image_urls_of(settings, metrics),
        classifier=LabelClassifier(
            model=requests.model,
            embedder=requests.embedder,
            metrics=metrics,
            max_labels=limits.max_labels,
            max_label_texts=limits.max_label_texts,
            max_cached_labels=settings.label_cache_items,
        ),
        pipelines=pipelines,
        collections=collections,
        jobs=Jobs(
            collections=collections,
            store=SqliteJobs(store.threads),
            inputs=JobFiles(settings.data_dir, quota, MAX_WAITING * limits.max_job_bytes),
            metrics=metrics,
            max_batch=min(MAX_BATCH, pipelines.for_collections.embedder.max_images),
            max_metadata_bytes=limits.max_metadata_bytes,
        ),
        catalogue=Catalogue(
            repository,
            requests.model,
            chosen.serving,
            support.why_not_served,
            running=lambda: [one.encoder.running() for one in pipelines.loaded()],
        ),
        pushes=Pushes(BundleUploads(repository), allow_ungated=settings.allow_ungated),
        health=health_of(pipelines.loaded, on_stuck),
        metrics=metrics,
        limits=limits,
        started_at=datetime.now(UTC),
        upgrades=_tensorrt_upgrades(settings, chosen, pipelines),
        close_decoder=workers.close,
    )


def _image_workers(settings: Settings, limits: Limits, loaded: LoadedBundle) -> ImageWorkers:
    return ImageWorkers(
        ImageLimits(max_bytes=limits.max_image_bytes, max_px=limits.max_image_px, guard=IMAGE_GUARD),
        n_threads=loaded.plan.n_decode_threads,
        mode=settings.decode,
        max_decoded_px=max_decoded_px(settings, loaded.plan, loaded.encoder.provider),
        n_sharing=resize_threads(settings),
    )


def _pipeline_pool(
    settings: Settings, repository: ModelRepository, chosen: ChosenPrecisions, build: BuildPipeline
) -> PipelinePool:
    """Build the pipeline pool.

    It has one pipeline for requests, one for collections (the same one when their precision is the same), and
    a loader for precisions that single collections ask for.
    """
    requests = build(chosen.embed, ("image", "text"))
    is_same = chosen.collections is chosen.embed
    collections = requests if is_same else build(chosen.collections, ("collection_image", "collection_text"))
    return PipelinePool(
        requests,
        collections,
        precisions=tuple(chosen.collections.bundle.manifest.precisions),
        open=OnDemandPrecisions(settings, repository, chosen.collections, build).open,
    )


def _running_model(pipeline: EncoderPipeline) -> ModelInfo:
    """Return the model with the provider that runs it now, which an upgrade to TensorRT changes."""
    return replace(pipeline.model, provider=pipeline.encoder.running().provider)


def _tensorrt_upgrades(
    settings: Settings, chosen: ChosenPrecisions, pipelines: PipelinePool
) -> list[Upgrade]:
    """Return an upgrade to TensorRT for each precision that CUDA serves, if the settings ask for it.

    Sets the TensorRT state of every pipeline, with the reason where there is no upgrade.
    """
    if settings.tensorrt == "off":
        return []
    upgrades: list[Upgrade] = []
    both = ((chosen.embed, pipelines.for_requests), (chosen.collections, pipelines.for_collections))
    distinct = {id(loaded): (loaded, pipeline) for loaded, pipeline in both}
    for loaded, pipeline in distinct.values():
        if loaded.encoder.provider == CPU_PROVIDER:
            pipeline.encoder.set_tensorrt_state(TensorRt("unavailable", "the encoders run on a CPU"))
            continue
        if loaded.encoder.provider != CUDA_PROVIDER:
            pipeline.encoder.set_tensorrt_state(TensorRt("serving", "this version was built by it"))
            continue
        pipeline.encoder.set_tensorrt_state(TensorRt("building", "it has not begun"))
        upgrade = TensorRtUpgrade(
            loaded,
            pipeline.encoder,
            identity=pipeline.model.identity,
            cache_dir=settings.cache_dir,
            build=build_in_child,
            on_change=pipelines.changed,
        )
        upgrades.append(upgrade.run)
    return upgrades


def limits_of(settings: Settings) -> Limits:
    """Return the limits of requests: those that are settings, and the defaults of the others."""
    names = {field.name for field in fields(Limits)} & Settings.model_fields.keys()
    return Limits(**{name: getattr(settings, name) for name in names})
