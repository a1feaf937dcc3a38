"""Choose the vector index of collections: FAISS on the CPU or on a GPU."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from diptych.adapters.faiss.flat_index import FaissFlatIndex, index_threads
from diptych.adapters.faiss.gpu_index import FaissGpuIndex
from diptych.adapters.faiss.gpu_rows import FaissGpu, require_gpu
from diptych.adapters.onnxruntime.processor import n_cpus
from diptych.core.serving.ports import VectorIndex
from diptych.errors import ConfigError
from diptych.settings import PREFIX, Settings

LOG = logging.getLogger("diptych.index")


def new_index_of(settings: Settings) -> Callable[[int], VectorIndex]:
    """Return a factory of empty indexes, which takes the dimension of their vectors.

    Raises ConfigError when a required GPU does not work.
    """
    reason = _reason_for_cpu(settings)
    if not reason:
        thread = index_threads(1)  # the only one that may use the GPU
        try:
            gpu = _probed_gpu(thread)
        except ConfigError as error:
            if settings.index_device == "cuda":
                raise ConfigError(f"{PREFIX}INDEX_DEVICE=cuda is not available: {error}") from error
            reason = f"no GPU: {error}"
        else:
            return lambda embed_dim: FaissGpuIndex(embed_dim, thread, gpu)
    LOG.info("collections are searched on the CPU: %s", reason)
    threads = index_threads(n_cpus())
    return lambda embed_dim: FaissFlatIndex(embed_dim, threads, reason=reason)


def _reason_for_cpu(settings: Settings) -> str:
    """Return why the settings exclude a GPU; empty if one is to be tried."""
    if settings.index_device == "cpu":
        return f"set by {PREFIX}INDEX_DEVICE"
    if settings.index_device == "auto" and settings.device == "cpu":
        return f"set by {PREFIX}DEVICE"
    return ""


def _probed_gpu(thread: ThreadPoolExecutor) -> FaissGpu:
    """Open the GPU and try it in the thread that will use it. Raises ConfigError."""
    require_gpu()
    gpu = FaissGpu()
    thread.submit(gpu.probe).result()
    return gpu
