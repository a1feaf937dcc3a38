"""Open one ONNX graph on the CPU or the GPU, and nowhere else. Knows nothing of towers or batches."""

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, assert_never

import onnxruntime as ort

from diptych.adapters.gpu_gate import GATE, unheld
from diptych.adapters.int8_products import may_saturate
from diptych.adapters.onnx_cuda import CUDA_GRAPHS, CUDA_OPTIONS, CUDA_PROVIDER, wanted
from diptych.adapters.onnx_tensorrt import TENSORRT_PROVIDER
from diptych.errors import BundleError, ConfigError, DiptychError

LOG = logging.getLogger("diptych.onnx")
CPU_PROVIDER = "CPUExecutionProvider"
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
GRAPHS_REVISION = 2  # of what graphs are rewritten to: engines of an earlier one are built anew

Device = Literal["cpu", "cuda", "tensorrt"]
Provider = str | tuple[str, dict[str, int | str]]


def open_session(
    file: Path,
    *,
    n_threads: int,
    device: Device,
    captures: bool = False,
    tensorrt: Mapping[str, int | str] | None = None,
) -> ort.InferenceSession:
    """Raises BundleError when the file does not load, ConfigError when the device was not had.

    With `captures`, on CUDA alone, also when its runs cannot be captured as CUDA graphs. `tensorrt` are the
    options of that device.
    """
    on_gpu = device != "cpu"
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1 if on_gpu else n_threads  # little is left for the CPU then
    options.log_severity_level = 4  # its errors are raised too, and its own lines are none of our log
    # Between two layers threads wait for each other by spinning, which is worth it; after the last one they
    # would spin on for 40 ms, on cores that decode the next images and answer the last request.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not on_gpu and may_saturate():  # elsewhere the kernels for uint8 weights are the slower ones
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1" if on_gpu else "0")
    providers = _providers(device, captures, tensorrt or {})
    try:
        graph = _graph(file, device)
        if isinstance(graph, bytes):
            options.add_session_config_entry(WEIGHTS_FOLDER, str(file.parent))
        with GATE.while_loading() if on_gpu else nullcontext():  # it takes memory of the GPU
            session = _session(graph, options, providers)
        if on_gpu:
            try:
                _accept(file, session, _name(providers[0]))
            except BaseException as error:
                with GATE.beside_others():
                    unheld(error)
                    del session
                raise
    except DiptychError:
        raise
    except Exception as error:  # onnxruntime raises classes of its own that share no public base
        raise BundleError(f"{file.name} does not load in onnxruntime {ort.__version__}: {error}") from error
    return session


def _session(
    graph: str | bytes, options: ort.SessionOptions, providers: list[Provider]
) -> ort.InferenceSession:
    try:
        # Without its fallback: that goes on with the CPU, when a session is made and whenever one fails.
        return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:
        unheld(error)  # what it took of the GPU by then is given back here
        raise


def _accept(file: Path, session: ort.InferenceSession, asked: str) -> None:
    """Raises ConfigError when it runs elsewhere."""
    used = session.get_providers()[0]
    if used != asked:  # when a library is missing it warns, and goes on with the CPU all the same
        raise ConfigError(f"{file.name}: {asked} was asked for, and onnxruntime took {used}; {wanted()}")
    _report(file, asked, _places(session))


def _graph(file: Path, device: Device) -> str | bytes:
    """The file, or what it says in words that the device's library knows. Raises BundleError, ConfigError."""
    if device == "cpu":
        return str(file)
    try:
        from diptych.adapters.gpu_graphs import graph_for_cuda, graph_for_tensorrt  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        if device == "cuda":  # it computes by the CPU what it has no kernel for, and then captures nothing
            return str(file)
        raise ConfigError(
            "graphs are rewritten for TensorRT by the package onnx, which is missing"
        ) from error
    return graph_for_cuda(file) if device == "cuda" else graph_for_tensorrt(file)


def _places(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """The provider and the kind of each operator of the graph."""
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]


def _report(file: Path, asked: str, places: list[tuple[str, str]]) -> None:
    """Log what is computed elsewhere in between. Raises ConfigError where that is all."""
    elsewhere = Counter(kind for provider, kind in places if provider != asked)
    if not elsewhere:
        return
    told = ", ".join(f"{n} {kind}" for kind, n in elsewhere.most_common())
    others = "the CPU" if asked == CUDA_PROVIDER else "CUDA or the CPU"
    if elsewhere.total() == len(places):
        raise ConfigError(f"{file.name}: {asked} runs no operator of it, all are for {others}: {told}")
    LOG.info(
        "%s: %s computes %d of %d operators: %s", file.name, others, elsewhere.total(), len(places), told
    )


def _providers(device: Device, captures: bool, tensorrt: Mapping[str, int | str]) -> list[Provider]:
    match device:
        case "cpu":
            return [CPU_PROVIDER]
        case "cuda":
            # The CPU computes what CUDA has no kernel of: shapes, mostly.
            more: dict[str, int | str] = {CUDA_GRAPHS: 1} if captures else {}
            return [(CUDA_PROVIDER, CUDA_OPTIONS | more), CPU_PROVIDER]
        case "tensorrt":
            return [(TENSORRT_PROVIDER, dict(tensorrt)), (CUDA_PROVIDER, CUDA_OPTIONS), CPU_PROVIDER]
        case _:
            assert_never(device)


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]
