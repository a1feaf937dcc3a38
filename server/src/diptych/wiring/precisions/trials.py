"""Try the precisions of one version on this machine, each at most once. Knows nothing of their purpose."""

import logging
from collections.abc import Sequence

from diptych.adapters.onnxruntime.cuda_provider import is_offered
from diptych.adapters.onnxruntime.session import Device as SessionDevice
from diptych.adapters.tensorrt.encoder import TENSORRT_PROVIDER
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.core.tuning.precision import CPU_PROVIDER, CUDA_PROVIDER, Candidate, DeviceChoice, unfit
from diptych.errors import BundleError, ConfigError, EncoderFailed
from diptych.settings import AUTO, PREFIX, Device
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle, load_precision

LOG = logging.getLogger("diptych.device")

Failure = BundleError | EncoderFailed


class Trials:
    """Holds what it loaded, and why the rest did not load, until it lets go of what was not taken.

    What a `device` of `auto` comes to is found out with the first precision that loads, and holds for all:
    the GPU, if there is one and that precision passes on it, else the CPU.
    """

    def __init__(
        self,
        bundle: VerifiedBundle,
        *,
        device: Device,
        n_threads: int,
        wanted: Sequence[str] = (),
        captures: bool = False,
    ) -> None:
        """`wanted` are the precisions that matter for the choice of a device; all when none is given.

        With `captures` batches of a GPU run as CUDA graphs, if they can.
        """
        self.bundle = bundle
        self._device: SessionDevice | None = None if device == AUTO else device  # None: not known yet
        self._reason = f"set by {PREFIX}DEVICE"
        self.n_threads = n_threads
        self._captures = captures
        self._found: dict[str, LoadedBundle | Failure] = {}
        self._name: str | None = None  # of the GPU
        if bundle.manifest.tensorrt is not None:  # it was looked at before that this is the one
            self._device, self._reason = "cuda", "the version was built by TensorRT for this GPU"
            return
        if device == AUTO and (reason := _needs_cpu(wanted or self.precisions)):
            self._settle("cpu", reason)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those of the version, the exact one first."""
        return tuple(name for name in COSINE_BOUNDS if name in self.bundle.manifest.precisions)

    @property
    def on_gpu(self) -> bool:
        """Whether that is settled, and for a GPU."""
        return self._device == "cuda"

    @property
    def device(self) -> DeviceChoice:
        """Where they run. To be asked once one was loaded."""
        assert self._device is not None, "settled with the first that loads"
        return DeviceChoice(self._provider(self._device), self._name, self._reason)

    def _provider(self, device: SessionDevice) -> str:
        return _PROVIDERS[device] if self.bundle.manifest.tensorrt is None else TENSORRT_PROVIDER

    def load(self, precision: str) -> LoadedBundle:
        """This precision, loaded and proven, fit for the device or not.

        Raises BundleError, EncoderFailed, and ConfigError when the device cannot be had.
        """
        found = self._try(precision)
        if isinstance(found, LoadedBundle):
            return found
        raise found

    def attempt(self, precision: str) -> Candidate:
        """How this precision fares here; one that the device has no use for is out, if possible untried."""
        if self._device is not None and (reason := unfit(precision, _PROVIDERS[self._device])):
            return Candidate(precision, passed=False, error=reason)
        found = self._try(precision)
        if not isinstance(found, LoadedBundle):
            return Candidate(precision, passed=False, error=str(found))
        reason = unfit(precision, found.encoder.provider)
        return Candidate(precision, passed=reason is None, error=reason)

    def failed(self) -> dict[str, str]:
        """The precisions that do not load or fail their check here, and why."""
        found = self._found.items()
        return {name: _with_cause(error) for name, error in found if not isinstance(error, LoadedBundle)}

    def let_go(self, but: Sequence[LoadedBundle] = ()) -> None:
        """Of all that it loaded `but` those; on a GPU each is freed in its turn. Nothing is loaded later."""
        for found in self._found.values():
            if isinstance(found, LoadedBundle) and not any(found is taken for taken in but):
                found.encoder.close()
        self._found.clear()

    def _try(self, precision: str) -> LoadedBundle | Failure:
        if precision not in self._found:
            try:
                loaded = self._load(precision)
            except (BundleError, EncoderFailed) as error:
                # Without its traceback, which holds this object and all that it loads.
                self._found[precision] = error.with_traceback(None)
            else:
                self._found[precision] = loaded
                self._name = loaded.encoder.device_name
        return self._found[precision]

    def _load(self, precision: str) -> LoadedBundle:
        if self._device is not None:
            try:
                return self._load_on(self._device, precision)
            except ConfigError as error:
                raise ConfigError(f"{PREFIX}DEVICE={self._device} cannot be had: {error}") from error
        reason = ""
        try:
            loaded = self._load_on("cuda", precision)
        except ConfigError as error:
            self._settle("cpu", f"no GPU: {error}")
        except (BundleError, EncoderFailed) as error:
            reason = f"no GPU: {precision} fails on it: {_with_cause(error)}"
        else:
            self._settle("cuda", f"{precision} passed on it")
            return loaded
        # Outside of the handlers: their errors hold what was loaded on the GPU.
        loaded = self._load_on("cpu", precision)
        if self._device is None:
            self._settle("cpu", reason)
        return loaded

    def _load_on(self, device: SessionDevice, precision: str) -> LoadedBundle:
        return load_precision(
            self.bundle, precision, device=device, n_threads=self.n_threads, captures=self._captures
        )

    def _settle(self, device: SessionDevice, reason: str) -> None:
        """What `auto` came to once holds for all precisions."""
        self._device, self._reason = device, reason
        if device == "cpu" and is_offered():
            LOG.warning("this onnxruntime is made for GPUs, and the CPU is taken: %s", reason)


_PROVIDERS: dict[SessionDevice, str] = {"cpu": CPU_PROVIDER, "cuda": CUDA_PROVIDER}


def _needs_cpu(precisions: Sequence[str]) -> str:
    """Why none of them is of use to a GPU; empty when one is."""
    reasons = [unfit(precision, CUDA_PROVIDER) for precision in precisions]
    return "" if None in reasons else f"no GPU is tried: {'; '.join(filter(None, reasons))}"


def _with_cause(error: Failure) -> str:
    """The error, and what the runtime said, which no client is told."""
    return str(error) if error.__cause__ is None else f"{error}: {error.__cause__}"
