"""Try the precisions of one version on this machine, each at most once."""

import logging
from collections.abc import Sequence

from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.onnxruntime.cuda_provider import is_offered
from diptych.adapters.onnxruntime.openvino_provider import why_no_bf16
from diptych.adapters.onnxruntime.session import Device as SessionDevice
from diptych.core.tuning.precision import CPU_PROVIDER, CUDA_PROVIDER, Candidate, DeviceChoice, unfit
from diptych.errors import BundleError, ConfigError, EncoderFailed, GoldenMismatch
from diptych.settings import AUTO, PREFIX, Device
from diptych.wiring.loading.bundles import BF16, LoadedBundle, VerifiedBundle, load_precision
from diptych.wiring.precisions.golden_parity import keep_refusal, with_golden_parity

LOG = logging.getLogger("diptych.device")

Failure = BundleError | EncoderFailed


class Trials:
    """Loads precisions and keeps them, or the error of each that failed, until `close`.

    With `device` auto, the first precision that loads decides the device of all: the GPU, if there is one and
    the precision passes on it, else the CPU.
    """

    def __init__(
        self,
        bundle: VerifiedBundle,
        *,
        device: Device,
        n_threads: int,
        required: Sequence[str] = (),
        plan_file: PlanFile | None = None,
    ) -> None:
        """`required` are the precisions that decide between CPU and GPU; empty means all of the version.

        `plan_file` keeps the parity of those that the manifest has none of.
        """
        self.bundle = bundle
        self._device: SessionDevice | None = None if device == AUTO else device  # None: not decided yet
        self._reason = f"set by {PREFIX}DEVICE"
        self.n_threads = n_threads
        self._plan_file = plan_file
        self._results: dict[str, LoadedBundle | Failure] = {}
        self._gpu_name: str | None = None
        if device == AUTO and (reason := _reason_for_cpu(required or self.precisions)):
            self._decide("cpu", reason)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions of the version, the exact one first; this machine may not offer all."""
        return self.bundle.manifest.served_precisions

    @property
    def on_gpu(self) -> bool:
        """Whether the device is decided and is a GPU."""
        return self._device == "cuda"

    @property
    def device(self) -> DeviceChoice:
        """The device of all precisions. Known once one has been loaded."""
        assert self._device is not None, "decided by the first precision that loads"
        return DeviceChoice(_PROVIDERS[self._device], self._gpu_name, self._reason)

    def load(self, precision: str) -> LoadedBundle:
        """Return this precision, loaded and proven, whether or not it suits the device.

        Raises BundleError or EncoderFailed, which name the precision, and ConfigError when the device is not
        available.
        """
        found = self._try(precision)
        if isinstance(found, LoadedBundle):
            return found
        raise found.named(precision) from found.__cause__

    def attempt(self, precision: str) -> Candidate:
        """Try this precision and report the result.

        A precision that does not suit the device fails; if the device is already decided, it is not even
        loaded.
        """
        if self._device is not None and (reason := unfit(precision, _PROVIDERS[self._device])):
            return Candidate(precision, passed=False, error=reason)
        if precision == BF16 and (reason := why_no_bf16()):
            return Candidate(precision, passed=False, error=reason)
        found = self._try(precision)
        if not isinstance(found, LoadedBundle):
            return Candidate(precision, passed=False, error=str(found))
        reason = unfit(precision, found.encoder.provider)
        return Candidate(precision, passed=reason is None, error=reason)

    def failed(self) -> dict[str, str]:
        """Return the precisions that do not load or fail their check here, with the reasons."""
        found = self._results.items()
        return {name: _with_cause(error) for name, error in found if not isinstance(error, LoadedBundle)}

    def close(self, keep: Sequence[LoadedBundle] = ()) -> None:
        """Close all loaded precisions except `keep`. Load nothing afterwards."""
        for found in self._results.values():
            if isinstance(found, LoadedBundle) and not any(found is kept for kept in keep):
                found.encoder.close()
        self._results.clear()

    def _try(self, precision: str) -> LoadedBundle | Failure:
        if precision not in self._results:
            try:
                loaded = self._load(precision)
            except (BundleError, EncoderFailed) as error:
                # Without its traceback, which keeps this object and everything that it loaded alive.
                self._results[precision] = error.with_traceback(None)
            else:
                self._results[precision] = loaded
                self._gpu_name = loaded.encoder.device_name
        return self._results[precision]

    def _load(self, precision: str) -> LoadedBundle:
        if self._device == "cuda" and precision == BF16:
            raise ConfigError(
                f"{PREFIX}DEVICE=cuda does not run bf16, which is for a CPU: "
                f"set {PREFIX}DEVICE=cpu, or name another precision with --precision"
            )
        if self._device is not None:
            try:
                return self._load_on(self._device, precision)
            except ConfigError as error:
                raise ConfigError(f"{PREFIX}DEVICE={self._device} is not available: {error}") from error
        reason = ""
        try:
            loaded = self._load_on("cuda", precision)
        except ConfigError as error:
            self._decide("cpu", f"no GPU: {error}")
        except (BundleError, EncoderFailed) as error:
            reason = f"no GPU: {precision} fails on it: {_with_cause(error)}"
        else:
            self._decide("cuda", f"{precision} passed on it")
            return loaded
        # Outside the handlers: their errors keep alive what was loaded on the GPU.
        loaded = self._load_on("cpu", precision)
        if self._device is None:
            self._decide("cpu", reason)
        return loaded

    def _load_on(self, device: SessionDevice, precision: str) -> LoadedBundle:
        try:
            loaded = load_precision(self.bundle, precision, device=device, n_threads=self.n_threads)
        except GoldenMismatch as error:
            keep_refusal(self.bundle, precision, self.n_threads, self._plan_file, error)
            raise
        try:
            return with_golden_parity(loaded, self.n_threads, self._plan_file)
        except BaseException:
            loaded.encoder.close()
            raise

    def _decide(self, device: SessionDevice, reason: str) -> None:
        """Keep the choice that `auto` made: it holds for every precision."""
        self._device, self._reason = device, reason
        if device == "cpu" and is_offered():
            LOG.warning("this onnxruntime supports GPUs, but the encoders run on the CPU: %s", reason)


_PROVIDERS: dict[SessionDevice, str] = {"cpu": CPU_PROVIDER, "cuda": CUDA_PROVIDER}


def _reason_for_cpu(precisions: Sequence[str]) -> str:
    """Return why none of these precisions suits a GPU; empty if one does."""
    reasons = [unfit(precision, CUDA_PROVIDER) for precision in precisions]
    if None in reasons:
        return ""
    reason = "; ".join(filter(None, reasons))
    return f"no GPU is tried: {reason}" if is_offered() else reason


def _with_cause(error: Failure) -> str:
    """Return the error with the runtime's own message, which clients never see."""
    return str(error) if error.__cause__ is None else f"{error}: {error.__cause__}"
