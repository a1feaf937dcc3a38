"""Whether a version can be served on this machine at all, before any of it is loaded. Knows no services."""

from diptych.adapters.cuda.device import first_gpu
from diptych.adapters.tensorrt.library import tensorrt_version
from diptych.bundle.manifest import Manifest, TensorrtBuild
from diptych.errors import ConfigError
from diptych.settings import AUTO, PREFIX, Device

UNGATED = "it was built ungated, its parity is unknown: see --allow-ungated"


class MachineSupport:
    """ONNX graphs can be tried anywhere; what TensorRT built runs on its GPU, with its release."""

    def __init__(
        self, device: Device, precisions: tuple[str, ...] = (), *, allow_ungated: bool = False
    ) -> None:
        """`device` and `precisions` are what the settings ask for; `auto` of either asks for nothing."""
        self._device = device
        self._asked = tuple(name for name in precisions if name != AUTO)
        self._allow_ungated = allow_ungated
        self._refused: dict[tuple[str, int], str] = {}

    def refuse(self, name: str, version: int, reason: str) -> None:
        """Remember that this version was tried and cannot be served here."""
        self._refused[name, version] = reason

    def why_not(self, manifest: Manifest) -> str | None:
        """Why the version cannot be served here; None for one that is worth a try."""
        refused = self._refused.get((manifest.name, manifest.version))
        if refused is not None:
            return refused
        if manifest.ungated and not self._allow_ungated:
            return UNGATED
        lacking = [name for name in self._asked if name not in manifest.precisions]
        if lacking:
            return f"it has no precision {lacking[0]!r}, only {', '.join(manifest.precisions)}"
        if manifest.tensorrt is None:
            return None
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
