"""Tell whether this machine can serve a version, by its manifest alone, before any of it is loaded."""

from diptych.adapters.cuda.device import first_gpu
from diptych.adapters.tensorrt.library import tensorrt_version
from diptych.bundle.manifest import Manifest, TensorrtBuild
from diptych.errors import ConfigError
from diptych.settings import PREFIX, Device

UNGATED = "it was built ungated, its parity is unknown: see --allow-ungated"


class MachineSupport:
    """Which versions this machine can serve, as far as that is known.

    ONNX graphs can be tried on any machine. TensorRT plans run only on the GPU model and with the TensorRT
    release that they were built for.
    """

    def __init__(self, device: Device, *, allow_ungated: bool = False) -> None:
        """`device` is the one that the settings name."""
        self._device = device
        self._allow_ungated = allow_ungated
        self._refused: dict[tuple[str, int], tuple[Manifest, str]] = {}

    def refuse(self, manifest: Manifest, reason: str) -> None:
        """Record that this version was tried and cannot be served here."""
        self._refused[manifest.name, manifest.version] = manifest, reason

    def why_not_served(self, manifest: Manifest) -> str | None:
        """Return why the version cannot be served here; None if it is worth a try."""
        refused, reason = self._refused.get((manifest.name, manifest.version), (None, ""))
        return reason if refused == manifest else self.why_unsuitable(manifest)

    def why_unsuitable(self, manifest: Manifest) -> str | None:
        """Return why machine or settings exclude the version, whether or not it was tried; None if not."""
        if manifest.ungated and not self._allow_ungated:
            return UNGATED
        if manifest.tensorrt is None:
            return None
        reason = self._build_mismatch(manifest.tensorrt)
        return None if reason is None else f"it is for {manifest.tensorrt}: {reason}"

    def _build_mismatch(self, build: TensorrtBuild) -> str | None:
        if self._device == "cpu":
            return f"{PREFIX}DEVICE is cpu"
        try:
            return _machine_mismatch(build)
        except ConfigError as error:
            return str(error)


def _machine_mismatch(build: TensorrtBuild) -> str | None:
    gpu = first_gpu()
    capability = ".".join(map(str, gpu.compute_capability))
    if (gpu.name, capability) != (build.gpu, build.compute_capability):
        return f"here is {gpu.name} (compute capability {capability})"
    version = tensorrt_version()
    if version != build.version:
        return f"here is TensorRT {version}"
    return None
