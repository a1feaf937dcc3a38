"""Try the precisions of one version on this machine, each at most once. Knows nothing of their purpose."""

from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.core.precision import CPU_PROVIDER, Candidate, unfit
from diptych.errors import BundleError, EncoderFailed
from diptych.settings import Device
from diptych.wiring.bundles import LoadedBundle, VerifiedBundle, load_precision

Failure = BundleError | EncoderFailed


class Trials:
    """Holds what it loaded, and why the rest did not load: letting go of it frees all that was not taken."""

    def __init__(self, bundle: VerifiedBundle, *, device: Device, n_threads: int) -> None:
        self.bundle = bundle
        self._device: Device = device
        self._n_threads = n_threads
        self._found: dict[str, LoadedBundle | Failure] = {}
        self._provider = CPU_PROVIDER if device == "cpu" else None  # None: not known before the first load

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those of the version, the exact one first."""
        return tuple(name for name in COSINE_BOUNDS if name in self.bundle.manifest.precisions)

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
        if self._provider is not None and (reason := unfit(precision, self._provider)):
            return Candidate(precision, passed=False, error=reason)
        found = self._try(precision)
        if not isinstance(found, LoadedBundle):
            return Candidate(precision, passed=False, error=str(found))
        reason = unfit(precision, found.encoder.provider)
        return Candidate(precision, passed=reason is None, error=reason)

    def _try(self, precision: str) -> LoadedBundle | Failure:
        if precision not in self._found:
            try:
                loaded = load_precision(
                    self.bundle, precision, device=self._device, n_threads=self._n_threads
                )
            except (BundleError, EncoderFailed) as error:
                # Without its traceback: that holds this object, and what is not taken must be freed at once.
                self._found[precision] = error.with_traceback(None)
            else:
                self._found[precision] = loaded
                self._settle_device(loaded.encoder.provider)
        return self._found[precision]

    def _settle_device(self, provider: str) -> None:
        """What `auto` came to once holds for all precisions."""
        self._provider = provider
        if provider == CPU_PROVIDER:
            self._device = "cpu"
