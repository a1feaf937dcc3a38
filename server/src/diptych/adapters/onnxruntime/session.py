"""Opens an onnxruntime session on the CPU or the GPU, without onnxruntime's silent fallback to the CPU."""

import logging
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from diptych.adapters.cuda.capture_lock import CAPTURE_LOCK
from diptych.adapters.onnxruntime.cuda_provider import CUDA_GRAPHS, CUDA_OPTIONS, CUDA_PROVIDER, wanted
from diptych.adapters.onnxruntime.processor import may_saturate
from diptych.errors import BundleError, ConfigError, DiptychError

LOG = logging.getLogger("diptych.onnx")
CPU_PROVIDER = "CPUExecutionProvider"
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

Device = Literal["cpu", "cuda"]


def open_session(
    file: Path, *, n_threads: int, device: Device, captures: bool = False
) -> ort.InferenceSession:
    """Open a session. Raises BundleError if the file does not load, ConfigError if the device cannot be used.

    With `captures`, on a GPU only, it also raises if runs cannot be captured as CUDA graphs.
    """
    try:
        return _on_cpu(file, n_threads) if device == "cpu" else _on_gpu(file, captures)
    except DiptychError:
        raise
    except MemoryError as error:
        raise BundleError(f"there is not enough memory to load {file.name}") from error
    except Exception as error:  # onnxruntime raises classes of its own that share no public base
        raise BundleError(f"{file.name} does not load in onnxruntime {ort.__version__}: {error}") from error


def _on_cpu(file: Path, n_threads: int) -> ort.InferenceSession:
    _share_memory()
    options = _options(n_threads)
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Weights stay out of the shared memory, so that closing a session gives them back to the system.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.enable_mem_pattern = False  # it plans one block for each shape of batch, which fragments memory
    if may_saturate():  # on other processors the kernels for uint8 weights are the slower ones
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(file), options, providers=[CPU_PROVIDER], enable_fallback=0)


@cache
def _share_memory() -> None:
    """Give all sessions on the CPU one memory for what they compute, instead of one each.

    A session keeps the memory that its largest batch took. Few of the sessions of a server run at once: two
    precisions, each for single items and for parallel batches, of an image and a text encoder.
    """
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    defaults = ort.OrtArenaCfg(0, -1, -1, -1)
    ort.create_and_register_allocator(cpu, defaults)


def _on_gpu(file: Path, captures: bool) -> ort.InferenceSession:
    options = _options(n_threads=1)  # the CPU computes little
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry(
        WEIGHTS_FOLDER, str(file.parent)
    )  # for a graph that was rewritten in memory
    cuda = (CUDA_PROVIDER, CUDA_OPTIONS | ({CUDA_GRAPHS: 1} if captures else {}))
    graph = _graph_for_cuda(file)
    with CAPTURE_LOCK.load():
        # The CPU provider computes the operators that CUDA has no kernel for, mostly on shapes. The fallback
        # is disabled: it would continue on the CPU alone when a session cannot be made, and when a run fails.
        session = ort.InferenceSession(graph, options, providers=[cuda, CPU_PROVIDER], enable_fallback=0)
        problem = _problem(session)
        if problem:
            del session  # under the lock, so that nothing is captured meanwhile
            raise ConfigError(f"{file.name}: {problem}")
    _log_cpu_operators(file, session)
    return session


def _options(n_threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.log_severity_level = (
        4  # fatal only: errors are raised anyway, and onnxruntime's own lines do not belong in our log
    )
    # Between two layers threads wait for each other by spinning, which is worth it. After the last layer they
    # would spin for another 40 ms, on cores that decode the next images and answer the last request.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _graph_for_cuda(file: Path) -> str | bytes:
    """The file, or its rewrite in operators that CUDA has.

    Without `onnx` text towers may not be capturable.
    """
    try:
        from diptych.adapters.onnxruntime.gpu_graph_rewrites import graph_for_cuda  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        return str(file)
    return graph_for_cuda(file)


def _problem(session: ort.InferenceSession) -> str:
    """Why the session does not use the GPU; empty if it does."""
    used = session.get_providers()[0]
    if (
        used != CUDA_PROVIDER
    ):  # if a library is missing onnxruntime warns, and continues on the CPU all the same
        return f"{CUDA_PROVIDER} was requested, but onnxruntime uses {used}; {wanted()}"
    if all(provider != CUDA_PROVIDER for provider, _ in _operators(session)):
        return f"{CUDA_PROVIDER} runs none of its operators, the CPU runs all of them"
    return ""


def _log_cpu_operators(file: Path, session: ort.InferenceSession) -> None:
    found = _operators(session)
    elsewhere = Counter(kind for provider, kind in found if provider != CUDA_PROVIDER)
    if elsewhere:
        listed = ", ".join(f"{n} {kind}" for kind, n in elsewhere.most_common())
        LOG.info(
            "%s: the CPU computes %d of %d operators: %s", file.name, elsewhere.total(), len(found), listed
        )


def _operators(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """(provider, type) of each operator of the graph."""
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]
