"""OpenVINO's plugin of onnxruntime, which computes float32 graphs in bf16 where the processor can.

The plugin is a package of its own, onnxruntime-ep-openvino. It brings its own OpenVINO.
"""

import importlib
import json
from functools import cache

import onnxruntime as ort

from diptych.adapters.onnxruntime.processor import n_cpus
from diptych.errors import BundleError

OPENVINO_PROVIDER = "OpenVINOExecutionProvider"
PLUGIN = "onnxruntime_ep_openvino"  # the module, which has the library
CAPABILITIES, CAPABILITY = "OPTIMIZATION_CAPABILITIES", "BF16"  # in the metadata of a device


def why_no_bf16() -> str | None:
    """Return why bf16 is not offered on this machine; None if it is."""
    try:
        _device()
    except BundleError as error:
        return error.message
    return None


def plugin_version() -> str:
    """The release of the plugin. Raises BundleError where bf16 is not offered."""
    return str(_device().ep_metadata.get("version", ""))


def compute_in_bf16(options: ort.SessionOptions, n_threads: int) -> None:
    """Let OpenVINO compute a session with so many threads; 0: one for each processor.

    Raises BundleError where bf16 is not offered.
    """
    config = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, on all threads
        "INFERENCE_NUM_THREADS": str(n_threads or n_cpus()),
        "ENABLE_CPU_PINNING": "NO",  # pinned threads would wait for those that decode on their cores
    }
    options.add_provider_for_devices([_device()], {"load_config": json.dumps({"CPU": config})})


def _device() -> "ort.OrtEpDevice":  # quoted: releases before 1.23 have none
    """Return the processor as a device of the plugin. Raises BundleError saying what is missing for bf16."""
    found = [one for one in _devices() if one.ep_metadata.get("ov_device") == "CPU"]
    if not found:
        raise _not_offered("OpenVINO's plugin does not support this processor")
    capabilities = found[0].ep_metadata.get(CAPABILITIES, "")
    if CAPABILITY not in capabilities.split():
        raise _not_offered(f"the processor has only {capabilities}, says OpenVINO")
    return found[0]


def _devices() -> "list[ort.OrtEpDevice]":
    """Load the plugin into this process, unless it is loaded, and return its devices. Raises BundleError."""
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        raise _not_offered(f"bf16 needs onnxruntime 1.24 or newer, this is {ort.__version__}")
    try:
        _register(importlib.import_module(PLUGIN).get_library_path())
        return [one for one in ort.get_ep_devices() if one.ep_name == OPENVINO_PROVIDER]
    except ModuleNotFoundError as error:
        raise _not_offered(f"the package {PLUGIN.replace('_', '-')} is not installed") from error
    except Exception as error:  # onnxruntime raises classes of its own
        raise _not_offered(f"OpenVINO's plugin fails: {error}") from error


def _not_offered(reason: str) -> BundleError:
    return BundleError(f"not offered here: {reason}", item="bf16")


@cache
def _register(library: str) -> None:
    """Register the plugin with onnxruntime, which refuses to do it twice."""
    ort.register_execution_provider_library(PLUGIN, library)
