"""The composition root: settings in, running services out. The only place that picks adapters."""

import asyncio

import numpy as np

from diptych.bundle.repository import ModelRepository
from diptych.core.services import Services
from diptych.settings import Settings
from diptych.wiring.assemble import assemble, limits_of
from diptych.wiring.bundles import LoadedBundle, check_choice, chosen_version, load_bundle

__all__ = ["build", "check_choice", "limits_of", "load", "load_bundle"]


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
    bundle = load_bundle(
        repository,
        name,
        version,
        precision=settings.precision,
        device=settings.device,
        n_threads=settings.n_threads,
    )
    _warm(bundle, settings.max_batch_size)
    return assemble(settings, repository, bundle)


def _warm(bundle: LoadedBundle, max_batch_size: int) -> None:
    """Run the largest batch once, so that no request pays for allocations and kernel choices."""
    size = bundle.manifest.image.size
    bundle.encoder.encode_image(np.zeros((max_batch_size, size, size, 3), np.uint8))
    bundle.encoder.encode_text(np.repeat(bundle.tokenizer([""]).input_ids, max_batch_size, axis=0))
