"""Load further precisions and decode modes that single collections ask for."""

from collections.abc import Callable

from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.onnxruntime.session import Device
from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.ports import EncoderName
from diptych.core.tuning.precision import CPU_PROVIDER, TensorRt
from diptych.settings import AUTO, Settings
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle, load_precision
from diptych.wiring.loading.warming import warmed
from diptych.wiring.tuning.planning import threads_of, with_plan

BuildPipeline = Callable[[LoadedBundle, tuple[EncoderName, EncoderName], DecodeMode], EncoderPipeline]


class OnDemandPrecisions:
    """Loads precisions of one version, on the device that runs it.

    At the start they are measured, as the precision of requests is, since nothing else runs. Later nothing
    can be measured beside requests: they take a known plan. The files of the version are then verified again,
    since they may have changed on disk.
    """

    def __init__(
        self,
        settings: Settings,
        collections: LoadedBundle,
        build: BuildPipeline,
        *,
        verify: Callable[[], VerifiedBundle],
        plan_file: PlanFile,
    ) -> None:
        """`collections` is the precision of collections that have none of their own.

        `verify` finds the files of the version again, and verifies them. `plan_file` has known plans.
        """
        self._settings = settings
        self._verify = verify
        self._plan_file = plan_file
        self._bundle = collections.bundle
        self._plan = collections.plan
        self._device: Device = "cpu" if collections.encoder.provider == CPU_PROVIDER else "cuda"
        self._build = build

    def open(self, precision: str, decode: DecodeMode, at_start: bool) -> EncoderPipeline:
        """Load a precision and build its pipeline. Blocks.

        Raises BundleError, EncoderFailed, ConfigError, NotFound.
        """
        bundle = self._bundle if at_start else self._verify()
        n_threads = threads_of(self._settings)
        captures = self._settings.cuda_graphs == AUTO
        loaded = load_precision(
            bundle, precision, device=self._device, n_threads=n_threads, captures=captures
        )
        try:
            pipeline = self._built(loaded, precision, decode, at_start)
        except BaseException:
            loaded.encoder.close()
            raise
        if self._settings.tensorrt != "off":
            pipeline.encoder.set_tensorrt_state(
                TensorRt("unavailable", "only the server's own precisions are upgraded")
            )
        return pipeline

    def _built(
        self, loaded: LoadedBundle, precision: str, decode: DecodeMode, at_start: bool
    ) -> EncoderPipeline:
        fallback = None if at_start else self._plan
        planned = with_plan(loaded, self._settings, fallback, self._plan_file)
        names = (f"collection_image_{precision}", f"collection_text_{precision}")
        return self._build(warmed(planned), names, decode)
