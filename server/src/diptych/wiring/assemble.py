"""Assemble the services of a server: which adapter plays which role, with which limits."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from diptych.adapters.bundle_upload import BundleUploads
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.files.job_files import JobFiles
from diptych.adapters.files.library_folder import FolderOfLibrary
from diptych.adapters.files.preview_files import PreviewFiles
from diptych.adapters.files.quota import Quota
from diptych.adapters.free_space import MachineFreeSpace
from diptych.adapters.images.guards import IMAGE_GUARD
from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.adapters.installed_models import is_installed
from diptych.adapters.model_bundles import ModelBundles
from diptych.adapters.prometheus import PrometheusMetrics
from diptych.adapters.sqlite.jobs import SqlJobs
from diptych.adapters.sqlite.labels import SqlLabels
from diptych.adapters.sqlite.rollouts import SqlRollouts
from diptych.bundle.image.preprocess import DecodeMode, ImageLimits
from diptych.bundle.repository import ModelRepository
from diptych.core.catalogue import Catalogue
from diptych.core.collections.stored.ports import ImageStore
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.jobs.runner import MAX_BATCH
from diptych.core.jobs.service import MAX_WAITING
from diptych.core.limits import Limits
from diptych.core.push import Pushes
from diptych.core.services import Services
from diptych.core.serving.snapshot import Serving
from diptych.core.serving.version import ReadCalibration, Version
from diptych.core.serving.versions import Versions
from diptych.core.tuning.precision import Execution
from diptych.settings import AUTO, Settings
from diptych.wiring.core import Adapters, CorePlan, LibraryAdapters, build_core
from diptych.wiring.fetching import image_urls_of
from diptych.wiring.first_version import load_first_version
from diptych.wiring.index import index_files_of, new_index_of
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.version_choice import MachineSupport
from diptych.wiring.tuning.planning import max_decoded_px, resize_threads, threads_of
from diptych.wiring.version import OnStuck, build_version, health_of
from diptych.wiring.version_loader import VersionLoader

if TYPE_CHECKING:
    from diptych.adapters.objects.bucket import Bucket
    from diptych.wiring.store import Store

INSTALLED = (
    "the model repository is that of an installed package, which takes no versions: start the server with "
    "--model-repo and a folder of its own"
)


@dataclass(frozen=True)
class OpenedFolder:
    """The open data folder, and the model repository. `support` says which versions cannot be served.

    `bucket`: the object store of the originals; None if they are in a folder.
    """

    store: "Store"
    quota: Quota
    repository: ModelRepository
    support: MachineSupport
    bundles: ModelBundles
    bucket: "Bucket | None"


def assemble(
    settings: Settings, folder: OpenedFolder, *, on_stuck: OnStuck, limits: Limits | None = None
) -> Services:
    """Load the version that serves first, and connect it, the data folder and the adapters to each other.

    `limits` of requests, if they are not those of the settings.
    Raises BundleError, EncoderFailed, StoreError, and ConfigError when a required device is missing.
    """
    metrics, limits = PrometheusMetrics(), limits or limits_of(settings)
    workers = _image_workers(settings, limits)

    def build(
        loaded: LoadedBundle, decode: DecodeMode, execution: Execution, read_calibration: ReadCalibration
    ) -> Version:
        workers.allow_decoded_px(max_decoded_px(settings, loaded.plan, loaded.encoder.provider))
        return build_version(
            settings,
            limits,
            loaded,
            workers,
            metrics,
            decode=decode,
            execution=execution,
            read_calibration=read_calibration,
            on_stuck=on_stuck,
        )

    free_space = MachineFreeSpace(settings.data_dir, folder.quota)
    index_files = index_files_of(settings, folder.quota, free_space, folder.store.keep_known_now)
    new_index, rollout_store = new_index_of(settings, index_files), SqlRollouts(folder.store.threads)
    # Nothing is measured during the check of the database, which keeps a processor busy.
    loader = VersionLoader(
        settings, folder.bundles, folder.support, build, before_measuring=folder.store.require_sound_now
    )
    first = load_first_version(
        settings, folder.repository, folder.support, rollout_store.served_now(), loader
    )
    versions = Versions(loader.load, on_change=metrics.set_models)
    serving = Serving(
        versions.adopt(first), on_switch=lambda model: metrics.set_active(model.name, model.version)
    )
    loader.follow(lambda: serving.current.version)
    data_dir, quota, read_only = settings.data_dir, folder.quota, settings.read_only
    adapters = Adapters(
        metrics=metrics,
        records=folder.store,
        images=_images(settings, folder),
        thumbnailer=workers,
        headers=workers,
        new_index=new_index,
        labels=SqlLabels(folder.store.threads),
        jobs=SqlJobs(folder.store.threads),
        job_inputs=JobFiles(data_dir, quota, MAX_WAITING * limits.max_job_bytes, read_only=read_only),
        rollouts=rollout_store,
        bundles=folder.bundles,
        free_space=free_space,
        write_queue=SerialWriteQueue(),
        keep_index_files=index_files.keep_only,
        libraries=LibraryAdapters(
            rows=folder.store.libraries,
            folders={
                name: FolderOfLibrary(name, root, limits.max_image_bytes)
                for name, root in settings.library_folders.items()
            },
            previews=PreviewFiles(data_dir, quota, read_only=read_only),
        ),
    )
    core = build_core(adapters, versions, serving, _core_plan(settings, limits))
    return Services(
        serving=serving,
        versions=versions,
        rollouts=core.rollouts,
        comparer=core.comparer,
        image_urls=image_urls_of(settings, limits, metrics),
        collections=core.collections,
        label_sets=core.label_sets,
        libraries=core.libraries,
        jobs=core.jobs,
        catalogue=Catalogue(
            folder.repository,
            lambda: serving.current.version,
            versions.loaded,
            folder.bundles,
            folder.support.why_not_served,
        ),
        pushes=Pushes(
            BundleUploads(folder.repository),
            allow_ungated=settings.allow_ungated,
            refusal=INSTALLED if is_installed(settings.model_repo) else "",
        ),
        health=health_of(versions.loaded, on_stuck),
        metrics=metrics,
        limits=limits,
        started_at=datetime.now(UTC),
        close_decoder=workers.close,
        read_only=settings.read_only,
    )


def _core_plan(settings: Settings, limits: Limits) -> CorePlan:
    return CorePlan(
        read_only=settings.read_only,
        max_metadata_bytes=limits.max_metadata_bytes,
        max_batch=min(MAX_BATCH, settings.max_queue_items),
        min_overlap=settings.min_overlap,
        poll_s=settings.poll_s,
        manual=settings.rollout == "manual",
        pinned=settings.version,
        configured_model=settings.model if "model" in settings.model_fields_set else None,
        precision=None if settings.precision == AUTO else settings.precision,
        decode=settings.decode,
        exif=settings.exif,
    )


def _images(settings: Settings, folder: OpenedFolder) -> ImageStore:
    if folder.bucket is None:
        return ImageFiles(
            settings.originals_dir,
            folder.quota,
            read_only=settings.read_only,
            shared=settings.originals is not None,
        )
    from diptych.adapters.objects.image_objects import ImageObjects  # noqa: PLC0415 - needs obstore

    return ImageObjects(folder.bucket)


def _image_workers(settings: Settings, limits: Limits) -> ImageWorkers:
    return ImageWorkers(
        ImageLimits(max_bytes=limits.max_image_bytes, max_px=limits.max_image_px, guard=IMAGE_GUARD),
        n_threads=threads_of(settings),
        n_sharing=resize_threads(settings),
    )


def limits_of(settings: Settings) -> Limits:
    """Return the limits of requests: those that are settings, and the defaults of the others.

    A request adds no more images than the queue takes; a longer list becomes a job.
    """
    names = {field.name for field in fields(Limits)} & Settings.model_fields.keys()
    limits = Limits(**{name: getattr(settings, name) for name in names})
    return replace(limits, max_add_items=min(limits.max_add_items, settings.max_queue_items))
