"""Opens an onnxruntime session on the CPU or the GPU, without onnxruntime's silent fallback to the CPU."""

import logging
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from diptych.adapters.onnxruntime.cuda_provider import CUDA_OPTIONS, CUDA_PROVIDER, wanted
from diptych.adapters.onnxruntime.openvino_provider import OPENVINO_PROVIDER, compute_in_bf16
from diptych.adapters.onnxruntime.processor import may_saturate
from diptych.adapters.onnxruntime.tensorrt_provider import TENSORRT_PROVIDER, Options
from diptych.errors import BundleError, ConfigError, DiptychError

LOG = logging.getLogger("diptych.onnx")
CPU_PROVIDER = "CPUExecutionProvider"
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

Device = Literal["cpu", "cuda"]


def open_session(
    file: Path, *, n_threads: int, device: Device, tensorrt: Options | None = None, bf16: bool = False
) -> ort.InferenceSession:
    """Open a session, on a GPU with the TensorRT provider if its options are given; with `bf16` on the CPU.

    Raises BundleError if the file does not load, ConfigError if the device cannot be used.
    """
    try:
        if bf16:
            return _in_bf16(file, n_threads)
        return _on_cpu(file, n_threads) if device == "cpu" else _on_gpu(file, tensorrt)
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


def _in_bf16(file: Path, n_threads: int) -> ort.InferenceSession:
    options = _options(n_threads=1)  # threads of onnxruntime itself, which computes nothing
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    compute_in_bf16(options, n_threads)
    session = ort.InferenceSession(str(file), options, enable_fallback=0)
    if problem := _problem(session, OPENVINO_PROVIDER):
        raise BundleError(f"{file.name}: {problem}")
    _log_other_operators(file, session, OPENVINO_PROVIDER)
    return session


def _on_gpu(file: Path, tensorrt: Options | None) -> ort.InferenceSession:
    options = _options(n_threads=1)  # the CPU computes little
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    graph: str | bytes = str(file)
    # The CPU provider computes the operators that CUDA has no kernel for, mostly on shapes. The fallback
    # is disabled: it would continue on the CPU alone when a session cannot be made, and when a run fails.
    providers: list[str | tuple[str, Options]] = [(CUDA_PROVIDER, CUDA_OPTIONS), CPU_PROVIDER]
    if tensorrt is not None:
        providers.insert(0, (TENSORRT_PROVIDER, tensorrt))
        graph = _graph_for_tensorrt(file)
        options.add_session_config_entry(WEIGHTS_FOLDER, str(file.parent))  # of a graph in memory
    session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    wanted_one = CUDA_PROVIDER if tensorrt is None else TENSORRT_PROVIDER
    if problem := _problem(session, wanted_one):
        raise ConfigError(f"{file.name}: {problem}; {wanted()}")
    _log_other_operators(file, session, wanted_one)
    return session


def _graph_for_tensorrt(file: Path) -> bytes:
    try:
        from diptych.adapters.onnxruntime.tensorrt_graph import graph_for_tensorrt  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ConfigError(
            "the package onnx, which rewrites graphs for TensorRT, is missing: install server[tensorrt]"
        ) from error
    return graph_for_tensorrt(file)


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


def _problem(session: ort.InferenceSession, provider: str) -> str:
    """Why the session does not use the provider; empty if it does."""
    used = session.get_providers()[0]
    if used != provider:  # if a library is missing onnxruntime warns, and continues without it all the same
        return f"{provider} was requested, but onnxruntime uses {used}"
    if all(found != provider for found, _ in _operators(session)):
        return f"{provider} runs none of its operators"
    return ""


def _log_other_operators(file: Path, session: ort.InferenceSession, provider: str) -> None:
    found = _operators(session)
    elsewhere = Counter((other, kind) for other, kind in found if other != provider)
    if elsewhere:
        listed = ", ".join(f"{n} {kind} on {other}" for (other, kind), n in elsewhere.most_common())
        LOG.info(
            "%s: %d of %d operators do not run on %s: %s",
            *(file.name, elsewhere.total(), len(found), provider, listed),
        )


def _operators(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """(provider, type) of each operator of the graph."""
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]
