"""Whether a version can be served on this machine at all, before any of it is loaded. Knows no services."""

from diptych.adapters.cuda_driver import first_gpu
from diptych.adapters.tensorrt_library import tensorrt_version
from diptych.bundle.manifest import Manifest, TensorrtBuild
from diptych.errors import ConfigError
from diptych.settings import AUTO, PREFIX, Device


class Here:
    """ONNX graphs can be tried anywhere; what TensorRT built runs on its GPU, with its release."""

    def __init__(self, device: Device, precisions: tuple[str, ...] = ()) -> None:
        """`device` and `precisions` are what the settings ask for; `auto` of either asks for nothing."""
        self._device = device
        self._asked = tuple(name for name in precisions if name != AUTO)
        self._refused: dict[tuple[str, int], str] = {}

    def refuse(self, manifest: Manifest, reason: str) -> None:
        """From now on this version is one that cannot be served here: it was tried."""
        self._refused[manifest.name, manifest.version] = reason

    def why_not(self, manifest: Manifest) -> str | None:
        """Why the version cannot be served here; None for one that is worth a try."""
        refused = self._refused.get((manifest.name, manifest.version))
        if refused is not None or manifest.tensorrt is None:
            return refused
        lacking = [name for name in self._asked if name not in manifest.precisions]
        if lacking:
            return f"it has no {lacking[0]}, which is asked for"
        reason = self._why_not_built_for(manifest.tensorrt)
        return None if reason is None else f"it is for {manifest.tensorrt}: {reason}"

    def _why_not_built_for(self, build: TensorrtBuild) -> str | None:
        if self._device == "cpu":
            return f"{PREFIX}DEVICE is cpu"
        try:
            return _difference(build)
        except ConfigError as error:
            return str(error)


def _difference(build: TensorrtBuild) -> str | None:
    gpu = first_gpu()
    capability = ".".join(map(str, gpu.compute_capability))
    if (gpu.name, capability) != (build.gpu, build.compute_capability):
        return f"here is {gpu.name} (compute capability {capability})"
    version = tensorrt_version()
    if version != build.version:
        return f"here is TensorRT {version}"
    return None
