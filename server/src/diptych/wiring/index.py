"""Choose the vector index of collections: FAISS on the CPU or on a GPU."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from diptych.adapters.faiss.cpu_index import Approximation, FaissCpuIndex
from diptych.adapters.faiss.gpu_index import FaissGpuIndex
from diptych.adapters.faiss.gpu_rows import FaissGpu, require_gpu
from diptych.adapters.faiss.threads import IndexThreads, training_thread
from diptych.adapters.files.index_files import FOLDER, IndexFiles
from diptych.adapters.files.quota import Quota
from diptych.adapters.onnxruntime.processor import n_cpus
from diptych.core.rollout.ports import FreeSpace
from diptych.core.serving.ports import VectorIndex
from diptych.errors import ConfigError
from diptych.settings import PREFIX, Settings

LOG = logging.getLogger("diptych.index")


def index_files_of(
    settings: Settings, quota: Quota, free_space: FreeSpace, note: Callable[[], object] = lambda: None
) -> IndexFiles:
    """Return the folder of the files of indexes. `note`: as `IndexFiles`."""
    require_space = partial(free_space.require, memory_bytes=0)
    return IndexFiles(
        settings.data_dir / FOLDER,
        quota,
        lambda n_bytes: require_space(disk_bytes=n_bytes),
        read_only=settings.data_dir_is_read_only,
        note=note,
    )


def new_index_of(settings: Settings, files: IndexFiles | None = None) -> Callable[[int], VectorIndex]:
    """Return a factory of empty indexes, which takes the dimension of their vectors. `files` keep large ones.

    Raises ConfigError when a required GPU does not work.
    """
    reason = _reason_for_cpu(settings)
    if not reason:
        thread = IndexThreads(1)  # the only one that may use the GPU
        try:
            gpu = _probed_gpu(thread)
        except ConfigError as error:
            if settings.index_device == "cuda":
                raise ConfigError(f"{PREFIX}INDEX_DEVICE=cuda is not available: {error}") from error
            reason = f"no GPU: {error}"
        else:
            _remove_all(files)
            return lambda embed_dim: FaissGpuIndex(embed_dim, thread, gpu)
    LOG.info("collections are searched on the CPU: %s", reason)
    threads = IndexThreads(n_cpus())
    if settings.index == "exact":
        _remove_all(files)
        return lambda embed_dim: FaissCpuIndex(embed_dim, threads, reason=reason)
    lists = Approximation(training_thread(), files)
    return lambda embed_dim: FaissCpuIndex(embed_dim, threads, reason=reason, lists=lists)


def _remove_all(files: IndexFiles | None) -> None:
    """Remove the files of indexes, which nothing keeps up to date."""
    if files is not None:
        files.keep_only(())


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
