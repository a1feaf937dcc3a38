"""How engines of TensorRT are asked for: what is built, and where it is kept. Knows no graph."""

from pathlib import Path

from diptych.adapters.onnx_tensorrt import Options
from diptych.core.profiles import Profile, Shape

# Of the GPU, for kernels to work in: without a limit the builder may take all that what serves leaves free.
MAX_WORKSPACE_BYTES = 1 << 30


def engine_options(folder: Path, tower: str, source: str, profile: Profile) -> Options:
    """For a session whose engine, named after its `tower`, is kept in `folder` or built into it.

    `source` is the input of the graph.
    """
    return {"device_id": 0} | kept_options(tower, source, profile) | _places(folder)


def kept_options(tower: str, source: str, profile: Profile) -> Options:
    """The part that decides what is built.

    Switches are bools: unlike CUDA's, the provider's parser in Python takes "True" and "False", and neither
    1 nor 0.
    """
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_prefix": tower,
        "trt_timing_cache_enable": True,
        # With all of these off the network is strongly typed: it computes in the types of the graph, whose
        # norms and softmax are float32. With one on, the builder may take float16 wherever that is faster.
        "trt_fp16_enable": False,
        "trt_bf16_enable": False,
        "trt_int8_enable": False,
        "trt_max_workspace_size": MAX_WORKSPACE_BYTES,
        "trt_cuda_graph_enable": False,  # this provider keeps one graph a session, which has many shapes here
        "trt_profile_min_shapes": _shape(source, profile.smallest),
        "trt_profile_opt_shapes": _shape(source, profile.best),
        "trt_profile_max_shapes": _shape(source, profile.largest),
    }


def _places(folder: Path) -> Options:
    return {"trt_engine_cache_path": str(folder), "trt_timing_cache_path": str(folder)}


def _shape(source: str, shape: Shape) -> str:
    return f"{source}:{'x'.join(map(str, shape))}"
