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
        return str(error)
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
    _load_plugin()
    found = [
        one
        for one in ort.get_ep_devices()
        if one.ep_name == OPENVINO_PROVIDER and one.ep_metadata.get("ov_device") == "CPU"
    ]
    if not found:
        raise BundleError("bf16 is not offered here: OpenVINO's plugin does not support this processor")
    capabilities = found[0].ep_metadata.get(CAPABILITIES, "")
    if CAPABILITY not in capabilities.split():
        raise BundleError(f"bf16 is not offered here: the processor has only {capabilities}, says OpenVINO")
    return found[0]


def _load_plugin() -> None:
    """Load the plugin into this process, unless it is loaded. Raises BundleError."""
    try:
        _register(importlib.import_module(PLUGIN).get_library_path())
    except ModuleNotFoundError as error:
        package = PLUGIN.replace("_", "-")
        raise BundleError(f"bf16 is not offered here: the package {package} is not installed") from error
    except Exception as error:  # onnxruntime raises classes of its own, and older releases take no plugins
        raise BundleError(f"bf16 is not offered here: OpenVINO's plugin does not load: {error}") from error


@cache
def _register(library: str) -> None:
    """Register the plugin with onnxruntime, which refuses to do it twice."""
    ort.register_execution_provider_library(PLUGIN, library)
