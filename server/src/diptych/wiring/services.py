"""The composition root: settings in, running services out. The only place that picks adapters."""

import asyncio
import logging
from dataclasses import replace

from diptych.adapters.backup.data_folder import refuse_lost_database, refuse_lost_images
from diptych.adapters.backup.restore import refuse_unfinished
from diptych.adapters.faiss.flat_index import use_one_blas_thread
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.plan_file import PlanFile
from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from diptych.core.services import Services
from diptych.core.tuning.precision import Serving
from diptych.errors import BundleError, ConfigError, DiptychError, EncoderFailed
from diptych.settings import AUTO, Settings
from diptych.wiring.assemble import assemble
from diptych.wiring.loading.bundles import verify_bundle
from diptych.wiring.loading.compatibility import MachineSupport
from diptych.wiring.loading.version_choice import check_choice, chosen_version, here_of, why_not_served
from diptych.wiring.loading.warming import warmed
from diptych.wiring.pipeline import OnStuck
from diptych.wiring.precisions.chosen import ChosenPrecisions, load_served
from diptych.wiring.tuning.planning import PLAN_FILE, threads_of, with_plan

LOG = logging.getLogger("diptych.versions")


async def load(settings: Settings, on_stuck: OnStuck = lambda reason: None) -> Services:
    """Services that are ready for requests. Raises BundleError, StoreError, ConfigError, NotFound.

    `on_stuck` hears, on the event loop, when a call of the encoder hangs for ever: a new process is needed.
    """
    services = await asyncio.to_thread(build, settings, on_stuck)
    try:
        await services.start()
        await services.collections.ensure(settings.default_collection)
    except BaseException:
        await services.close()
        raise
    return services


def build(settings: Settings, on_stuck: OnStuck = lambda reason: None) -> Services:
    """Blocking: take the data folder, verify, load, prove and warm the model, open the folder; not started.

    A folder that is taken, or has lost its database or its originals, is refused before anything is loaded.
    """
    check_choice(settings)
    lock = DataLock(settings.data_dir)
    try:
        refuse_unfinished(settings.data_dir)
        refuse_lost_database(settings.data_dir)
        refuse_lost_images(settings.data_dir)
        return _build(settings, on_stuck, lock)
    except BaseException:
        lock.close()
        raise


def _build(settings: Settings, on_stuck: OnStuck, lock: DataLock) -> Services:
    use_one_blas_thread()
    repository, here = ModelRepository(settings.model_repo), here_of(settings)
    served = _load_newest(settings, repository, here)
    return assemble(settings, repository, served, on_stuck, lock, here=here)


def _load_newest(settings: Settings, repository: ModelRepository, here: MachineSupport) -> ChosenPrecisions:
    """The newest version that can be served here, or the one that is asked for.

    Where a version fails, the next older one is tried, and `here` keeps the reason.
    """
    while True:
        name, version = chosen_version(settings, here)
        try:
            served = _load(settings, repository, name, version)
        except (BundleError, EncoderFailed, ConfigError) as error:
            if settings.version is not None or _lacks_device(error, repository.manifest(name, version)):
                raise
            here.refuse(name, version, str(error))
            continue
        _say_ignored(repository, name, version, here)
        return served


def _lacks_device(error: DiptychError, manifest: Manifest) -> bool:
    """Whether no version could be served: the device cannot be had. Plans run on a GPU of their own."""
    return isinstance(error, ConfigError) and manifest.tensorrt is None


def _load(settings: Settings, repository: ModelRepository, name: str, version: int) -> ChosenPrecisions:
    served = load_served(
        verify_bundle(repository, name, version),
        precision=settings.precision,
        collection_precision=settings.collection_precision,
        device=settings.device,
        n_threads=threads_of(settings),
        captures=settings.cuda_graphs == AUTO,
        kept=PlanFile(settings.data_dir / PLAN_FILE),
    )
    try:
        return _planned(served, settings)
    except BaseException:  # another version may be taken, whose runs are captured
        for loaded in (served.embed, served.collections):
            loaded.encoder.close()
        raise


def _say_ignored(repository: ModelRepository, name: str, taken: int, here: MachineSupport) -> None:
    """In the log: newer versions than the one that is taken, and why they are not."""
    for version in repository.versions(name):
        if version > taken and (reason := why_not_served(repository, name, version, here)):
            LOG.warning("%s/%d is ignored, %s/%d is taken: %s", name, version, name, taken, reason)


def _planned(served: ChosenPrecisions, settings: Settings) -> ChosenPrecisions:
    """The same, each precision with its plan, and warm."""
    embed = warmed(with_plan(served.embed, settings))
    is_one = served.collections is served.embed
    collections = embed if is_one else warmed(with_plan(served.collections, settings))
    serving = Serving(
        replace(served.serving.embed, plan=embed.plan),
        replace(served.serving.collections, plan=collections.plan),
        served.serving.device,
    )
    return ChosenPrecisions(embed, collections, serving)
