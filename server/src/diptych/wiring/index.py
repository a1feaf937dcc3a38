"""Choose where collections are searched. Knows no collection."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from diptych.adapters.faiss.flat_index import FaissFlatIndex, index_thread
from diptych.adapters.faiss.gpu_index import FaissGpuIndex
from diptych.adapters.faiss.gpu_rows import FaissGpu, require_gpu
from diptych.core.collections.ports import VectorIndex
from diptych.errors import ConfigError
from diptych.settings import PREFIX, Settings

LOG = logging.getLogger("diptych.index")


def new_index_of(settings: Settings, embed_dim: int) -> Callable[[], VectorIndex]:
    """What makes an empty index. Raises ConfigError when a GPU is demanded and cannot be had."""
    thread = index_thread()
    reason = _why_cpu(settings)
    if not reason:
        try:
            return partial(FaissGpuIndex, embed_dim, thread, _proven(thread))
        except ConfigError as error:
            if settings.index_device == "cuda":
                raise ConfigError(f"{PREFIX}INDEX_DEVICE=cuda cannot be had: {error}") from error
            reason = f"no GPU: {error}"
    LOG.info("collections are searched on the CPU: %s", reason)
    return partial(FaissFlatIndex, embed_dim, thread, reason=reason)


def _why_cpu(settings: Settings) -> str:
    """By what was set; empty where a GPU is to be tried."""
    if settings.index_device == "cpu":
        return f"set by {PREFIX}INDEX_DEVICE"
    if settings.index_device == "auto" and settings.device == "cpu":
        return f"set by {PREFIX}DEVICE"
    return ""


def _proven(thread: ThreadPoolExecutor) -> FaissGpu:
    """In the thread that will use it. Raises ConfigError."""
    require_gpu()
    gpu = FaissGpu()
    thread.submit(gpu.probe).result()
    return gpu
