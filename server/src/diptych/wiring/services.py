"""Build and start everything that a server needs: open the data folder, load a version, assemble."""

import asyncio

from diptych.adapters.backup.restore import refuse_unfinished
from diptych.adapters.faiss.threads import use_one_blas_thread
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.kept_bundles import FOLDER, KeptBundles
from diptych.adapters.files.quota import Quota
from diptych.adapters.model_bundles import ModelBundles
from diptych.bundle.repository import ModelRepository
from diptych.core.limits import Limits
from diptych.core.services import Services
from diptych.settings import Settings
from diptych.wiring.assemble import OpenedFolder, assemble
from diptych.wiring.loading.version_choice import check_choice, support_of
from diptych.wiring.store import open_bucket, open_store
from diptych.wiring.version import OnStuck


async def load(
    settings: Settings, on_stuck: OnStuck = lambda reason: None, limits: Limits | None = None
) -> Services:
    """Return services that are ready for requests. Raises BundleError, StoreError, ConfigError, NotFound.

    `on_stuck` is called on the event loop when a call of the encoder never returns: the process must be
    replaced. `limits`: see `assemble`.
    """
    services = await asyncio.to_thread(build, settings, on_stuck, limits)
    try:
        await services.start()
        if not settings.read_only:
            await services.collections.ensure(settings.default_collection)
    except BaseException:
        await services.close()
        raise
    return services


def build(
    settings: Settings, on_stuck: OnStuck = lambda reason: None, limits: Limits | None = None
) -> Services:
    """Open the data folder; verify, load, prove and warm the version that serves. Blocks; starts nothing.

    Refuses a data folder that is in use, or that has lost its database or its originals, before it loads
    anything; read-only also one that would first have to be upgraded. The database is checked while the
    version is loaded; `Services.start` waits for the result.
    """
    check_choice(settings)
    lock = (DataLock.shared if settings.data_dir_is_read_only else DataLock)(settings.data_dir)
    try:
        refuse_unfinished(settings.data_dir)
        use_one_blas_thread()
        quota = Quota(None if settings.read_only else settings.max_data_bytes)  # counting takes a while
        bucket = open_bucket(settings)
        store = open_store(settings, quota, lock, bucket)
    except BaseException:
        lock.close()
        raise
    try:
        repository, support = ModelRepository(settings.model_repo), support_of(settings)
        kept = KeptBundles(settings.data_dir / FOLDER, quota)
        bundles = ModelBundles(repository, kept, support.why_not_served)
        folder = OpenedFolder(store, quota, repository, support, bundles, bucket)
        return assemble(settings, folder, on_stuck=on_stuck, limits=limits)
    except BaseException:
        store.close_now()
        store.require_sound_now()  # damage explains any other error
        raise
