"""Load a precision that collections ask for beside those of the start. Knows nothing of who asks."""

from collections.abc import Callable

from diptych.adapters.onnxruntime.session import Device
from diptych.bundle.repository import ModelRepository
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.ports import EncoderName
from diptych.core.tuning.precision import CPU_PROVIDER, TensorRt
from diptych.errors import CorruptBundle
from diptych.settings import AUTO, Settings
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle, load_precision, verify_bundle
from diptych.wiring.loading.warming import warmed
from diptych.wiring.tuning.planning import threads_of, with_plan

Build = Callable[[LoadedBundle, tuple[EncoderName, EncoderName]], EncoderPipeline]


class OnDemandPrecisions:
    """Opens precisions of the version that serves, on the device that it serves on.

    At the start nothing else runs: they are measured as those of requests are. Later they take a plan that is
    known, and the files of the version are read anew, since much may have become of them.
    """

    def __init__(
        self, settings: Settings, repository: ModelRepository, beside: LoadedBundle, build: Build
    ) -> None:
        """`beside` is what collections use that ask for nothing."""
        self._settings = settings
        self._repository = repository
        self._bundle = beside.bundle
        self._plan = beside.plan
        self._device: Device = "cpu" if beside.encoder.provider == CPU_PROVIDER else "cuda"
        self._build = build

    def open(self, precision: str, at_start: bool) -> EncoderPipeline:
        """Blocking. Raises BundleError, EncoderFailed, ConfigError, NotFound."""
        bundle = self._bundle if at_start else self._verified()
        n_threads = threads_of(self._settings)
        captures = self._settings.cuda_graphs == AUTO
        loaded = load_precision(
            bundle, precision, device=self._device, n_threads=n_threads, captures=captures
        )
        try:
            engine = self._made(loaded, precision, at_start)
        except BaseException:
            loaded.encoder.close()
            raise
        if self._settings.tensorrt != "off":
            engine.encoder.set_tensorrt_state(
                TensorRt("unavailable", "it is for the server's own precisions")
            )
        return engine

    def _made(self, loaded: LoadedBundle, precision: str, at_start: bool) -> EncoderPipeline:
        planned = with_plan(loaded, self._settings, otherwise=None if at_start else self._plan)
        names = (f"collection_image_{precision}", f"collection_text_{precision}")
        return self._build(warmed(planned), names)

    def _verified(self) -> VerifiedBundle:
        manifest = self._bundle.manifest
        bundle = verify_bundle(self._repository, manifest.name, manifest.version)
        if bundle.manifest != manifest:
            raise CorruptBundle(
                f"{manifest.name}/{manifest.version} is another one than was loaded at the start"
            )
        return bundle
