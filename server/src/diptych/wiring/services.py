"""Build and start everything that a server needs: choose a version, load it, open the data folder."""

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
from diptych.wiring.loading.version_choice import check_choice, chosen_version, support_of, why_not_served
from diptych.wiring.loading.warming import warmed
from diptych.wiring.pipeline import OnStuck
from diptych.wiring.precisions.chosen import ChosenPrecisions, load_chosen
from diptych.wiring.tuning.planning import PLAN_FILE, threads_of, with_plan

LOG = logging.getLogger("diptych.versions")


async def load(settings: Settings, on_stuck: OnStuck = lambda reason: None) -> Services:
    """Return services that are ready for requests. Raises BundleError, StoreError, ConfigError, NotFound.

    `on_stuck` is called on the event loop when a call of the encoder never returns: the process must be
    replaced.
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
    """Lock the data folder, verify, load, prove and warm the model, open the folder. Blocks; starts nothing.

    Refuses a data folder that is in use, or that has lost its database or its originals, before it loads
    anything.
    """
    check_choice(settings)
    lock = DataLock(settings.data_dir)
    try:
        refuse_unfinished(settings.data_dir)
        refuse_lost_database(settings.data_dir)
        refuse_lost_images(settings.data_dir)
        use_one_blas_thread()
        repository, support = ModelRepository(settings.model_repo), support_of(settings)
        chosen = _load_newest(settings, repository, support)
        return assemble(settings, repository, chosen, support, lock, on_stuck=on_stuck)
    except BaseException:
        lock.close()
        raise


def _load_newest(
    settings: Settings, repository: ModelRepository, support: MachineSupport
) -> ChosenPrecisions:
    """Load the requested version, or else the newest one that this machine can serve.

    When a version fails to load, `support` records the reason and the next older version is tried.
    """
    while True:
        name, version = chosen_version(settings, support)
        try:
            chosen = _load(settings, repository, name, version)
        except (BundleError, EncoderFailed, ConfigError) as error:
            if settings.version is not None or _device_is_missing(error, repository.manifest(name, version)):
                raise
            support.refuse(name, version, str(error))
            continue
        _log_ignored_versions(repository, name, version, support)
        return chosen


def _device_is_missing(error: DiptychError, manifest: Manifest) -> bool:
    """Whether the device is unavailable for every version. TensorRT plans need one GPU model of their own."""
    return isinstance(error, ConfigError) and manifest.tensorrt is None


def _load(settings: Settings, repository: ModelRepository, name: str, version: int) -> ChosenPrecisions:
    chosen = load_chosen(
        verify_bundle(repository, name, version),
        precision=settings.precision,
        collection_precision=settings.collection_precision,
        device=settings.device,
        n_threads=threads_of(settings),
        captures=settings.cuda_graphs == AUTO,
        plan_file=PlanFile(settings.data_dir / PLAN_FILE),
    )
    try:
        return _planned_and_warmed(chosen, settings)
    except BaseException:  # frees the memory: an older version may be loaded next and capture CUDA graphs
        for loaded in (chosen.embed, chosen.collections):
            loaded.encoder.close()
        raise


def _log_ignored_versions(
    repository: ModelRepository, name: str, loaded_version: int, support: MachineSupport
) -> None:
    """Log each version newer than the loaded one, with the reason why it is not served."""
    for version in repository.versions(name):
        if version > loaded_version and (reason := why_not_served(repository, name, version, support)):
            LOG.warning(
                "%s/%d is ignored, %s/%d is served instead: %s", name, version, name, loaded_version, reason
            )


def _planned_and_warmed(chosen: ChosenPrecisions, settings: Settings) -> ChosenPrecisions:
    """Return the same precisions, each with its execution plan and after its warm-up runs."""
    embed = warmed(with_plan(chosen.embed, settings))
    is_same = chosen.collections is chosen.embed
    collections = embed if is_same else warmed(with_plan(chosen.collections, settings))
    serving = Serving(
        replace(chosen.serving.embed, plan=embed.plan),
        replace(chosen.serving.collections, plan=collections.plan),
        chosen.serving.device,
    )
    return ChosenPrecisions(embed, collections, serving)
