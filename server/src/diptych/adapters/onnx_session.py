"""Open one ONNX graph on the CPU or the GPU, and nowhere else. Knows nothing of towers or batches."""

import logging
from collections import Counter
from pathlib import Path
from typing import Literal, assert_never

import onnxruntime as ort

from diptych.adapters.onnx_cuda import CUDA_OPTIONS, CUDA_PROVIDER, wanted
from diptych.errors import BundleError, ConfigError

LOG = logging.getLogger("diptych.onnx")
CPU_PROVIDER = "CPUExecutionProvider"

Device = Literal["cpu", "cuda"]
Provider = str | tuple[str, dict[str, int | str]]


def open_session(file: Path, *, n_threads: int, device: Device) -> ort.InferenceSession:
    """Raises BundleError when the file does not load, ConfigError when the device was not had."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1 if device == "cuda" else n_threads  # little is left for the CPU then
    options.log_severity_level = 4  # its errors are raised too, and its own lines are none of our log
    # Between two layers threads wait for each other by spinning, which is worth it; after the last one they
    # would spin on for 40 ms, on cores that decode the next images and answer the last request.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry(
        "session.record_ep_graph_assignment_info", "1" if device == "cuda" else "0"
    )
    providers = _providers(device)
    try:
        # Without its fallback: that goes on with the CPU, when a session is made and whenever one fails.
        session = ort.InferenceSession(str(file), options, providers=providers, enable_fallback=0)
        places = _places(session) if device == "cuda" else []
    except Exception as error:  # onnxruntime raises classes of its own that share no public base
        raise BundleError(f"{file.name} does not load in onnxruntime {ort.__version__}: {error}") from error
    asked, used = _name(providers[0]), session.get_providers()[0]
    if used != asked:  # when a library is missing it warns, and goes on with the CPU all the same
        raise ConfigError(f"{file.name}: {asked} was asked for, and onnxruntime took {used}; {wanted()}")
    _report(file, places)
    return session


def _places(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """The provider and the kind of each operator of the graph."""
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]


def _report(file: Path, places: list[tuple[str, str]]) -> None:
    """Log what is computed on the CPU in between. Raises ConfigError where that is all."""
    on_cpu = Counter(kind for provider, kind in places if provider == CPU_PROVIDER)
    if not on_cpu:
        return
    told = ", ".join(f"{n} {kind}" for kind, n in on_cpu.most_common())
    if on_cpu.total() == len(places):
        raise ConfigError(f"{file.name}: {CUDA_PROVIDER} runs no operator of it, all are for the CPU: {told}")
    LOG.info("%s: the CPU computes %d of %d operators: %s", file.name, on_cpu.total(), len(places), told)


def _providers(device: Device) -> list[Provider]:
    match device:
        case "cpu":
            return [CPU_PROVIDER]
        case "cuda":
            # The CPU computes what CUDA has no kernel of: shapes, mostly.
            return [(CUDA_PROVIDER, CUDA_OPTIONS), CPU_PROVIDER]
        case _:
            assert_never(device)


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]
