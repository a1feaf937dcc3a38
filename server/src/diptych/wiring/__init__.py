"""The composition root: settings in, running services out. The only place that picks adapters."""

import asyncio

import numpy as np

from diptych.bundle.repository import ModelRepository
from diptych.core.services import Services
from diptych.settings import Settings
from diptych.wiring.assemble import assemble, limits_of
from diptych.wiring.bundles import LoadedBundle, verify_bundle
from diptych.wiring.served import choose_for_requests, load_served
from diptych.wiring.trials import Trials
from diptych.wiring.versions import check_choice, chosen_version

__all__ = ["Trials", "build", "check_choice", "choose_for_requests", "limits_of", "load", "verify_bundle"]


async def load(settings: Settings) -> Services:
    """Services that are ready for requests. Raises BundleError, StoreError, ConfigError, NotFound."""
    services = await asyncio.to_thread(build, settings)
    try:
        await services.start()
        await services.collections.ensure(settings.default_collection)
    except BaseException:
        await services.close()
        raise
    return services


def build(settings: Settings) -> Services:
    """Blocking: verify, load, prove and warm the model, then open the data folder; not started yet."""
    check_choice(settings)
    name, version = chosen_version(settings)
    repository = ModelRepository(settings.model_repo)
    served = load_served(
        verify_bundle(repository, name, version),
        precision=settings.precision,
        collection_precision=settings.collection_precision,
        device=settings.device,
        n_threads=settings.n_threads,
        max_batch_size=settings.max_batch_size,
    )
    _warm(served.embed, settings.max_batch_size)
    if served.collections is not served.embed:
        _warm(served.collections, settings.max_batch_size)
    return assemble(settings, repository, served)


def _warm(loaded: LoadedBundle, max_batch_size: int) -> None:
    """Run the largest batch once, so that no request pays for allocations and kernel choices."""
    size = loaded.bundle.manifest.image.size
    loaded.encoder.encode_image(np.zeros((max_batch_size, size, size, 3), np.uint8))
    loaded.encoder.encode_text(np.repeat(loaded.bundle.tokenizer([""]).input_ids, max_batch_size, axis=0))
