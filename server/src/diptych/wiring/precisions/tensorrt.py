"""Serve a precision with TensorRT if its engines are there, and build them for `diptych check --tensorrt`."""

import logging
from dataclasses import replace
from time import perf_counter

from diptych.adapters.onnxruntime.engine_cache import EngineCache
from diptych.bundle.golden import check_golden
from diptych.core.tuning.execution_layout import GPU_BATCH_SIZES
from diptych.core.tuning.precision import TensorRt, runs_on_cpu
from diptych.errors import DiptychError, EncoderFailed
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle, ServedEncoder, open_encoder
from diptych.wiring.loading.golden import require_golden_in_every_shape

LOG = logging.getLogger("diptych.tensorrt")
COMMAND = "diptych check --tensorrt"


def with_tensorrt(loaded: LoadedBundle, settings: Settings) -> LoadedBundle:
    """Return the precision on TensorRT; or as it is, with the reason, unless the setting `tensorrt` is off.

    Engines take minutes to build, so that this builds none.
    """
    if settings.tensorrt == "off":
        return loaded
    if runs_on_cpu(loaded.encoder.provider):
        return replace(loaded, tensorrt=TensorRt("unavailable", "the encoders run on a CPU"))
    try:
        cache = _cache(loaded, settings)
        if not cache.is_complete:
            return _without(loaded, f"there are no engines for {cache.description}: run `{COMMAND}`")
        encoder = _proven(loaded, cache)
    except DiptychError as error:
        return _without(loaded, reason_of(error))
    except Exception as error:  # CUDA serves whatever happens
        LOG.exception("TensorRT failed")
        return _without(loaded, f"it failed unexpectedly: {type(error).__name__}")
    loaded.encoder.close()
    LOG.info("%s is served by TensorRT: engines for %s", loaded.precision, cache.description)
    serving = TensorRt("serving", f"engines for {cache.description}")
    return replace(loaded, encoder=encoder, tensorrt=serving)


def build_engines(loaded: LoadedBundle, settings: Settings) -> str:
    """Build and prove the engines of a precision, or prove those that are there; return what they are for.

    Blocks for minutes. Engines that fail are deleted. Raises BundleError, ConfigError, EncoderFailed.
    """
    cache, began = _cache(loaded, settings), perf_counter()
    was_complete = cache.is_complete
    if not was_complete:
        cache.make_empty()
    try:
        _proven(loaded, cache).close()
    except DiptychError:
        cache.make_empty()
        raise
    cache.complete()
    how = "built before" if was_complete else f"built in {perf_counter() - began:.0f} s"
    return f"engines for {cache.description}, {how}"


def reason_of(error: DiptychError) -> str:
    """Return the error with the runtime's own message, which clients do not see elsewhere."""
    cause = error.__cause__ if isinstance(error, EncoderFailed) else None
    return str(error) if cause is None else f"{error}: {cause}"


def _cache(loaded: LoadedBundle, settings: Settings) -> EngineCache:
    """The engines take batches as large as any that a server with these settings makes."""
    max_batch = max(*GPU_BATCH_SIZES, settings.max_batch_size)
    return EngineCache(settings.cache_dir, loaded.bundle.manifest, loaded.precision, max_batch)


def _proven(loaded: LoadedBundle, cache: EngineCache) -> ServedEncoder:
    bundle = loaded.bundle
    encoder = open_encoder(
        bundle.folder, bundle.manifest, loaded.precision, device="cuda", n_threads=1, engines=cache.engines
    )
    try:
        check_golden(bundle.golden, bundle.manifest, loaded.precision, bundle.tokenizer, encoder)
        largest = cache.engines.images.largest[0]
        require_golden_in_every_shape(bundle, loaded.precision, encoder, largest)
    except BaseException:
        encoder.close()
        raise
    return encoder


def _without(loaded: LoadedBundle, reason: str) -> LoadedBundle:
    LOG.warning("%s is not served by TensorRT, CUDA serves it: %s", loaded.precision, reason)
    return replace(loaded, tensorrt=TensorRt("unavailable", reason))
