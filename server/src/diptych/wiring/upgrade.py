"""Move a precision that CUDA serves to TensorRT, in the background. Knows nothing of services."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import onnxruntime as ort

from diptych.adapters.engine_folder import EngineFolder, Recipe
from diptych.adapters.engine_options import engine_options, kept_options
from diptych.adapters.onnx_encoder import INPUT_IDS, PIXELS, Engines, OnnxEncoder
from diptych.adapters.onnx_session import GRAPHS_REVISION
from diptych.adapters.onnx_tensorrt import Options, require_tensorrt
from diptych.adapters.tensorrt_build import EngineJob
from diptych.bundle.encoder import Embeddings, InputIds, OnStart, Pixels
from diptych.bundle.golden import check_golden
from diptych.core.handover import loaded_in_thread
from diptych.core.plan import sizes_up_to
from diptych.core.precision import Running, TensorRt
from diptych.core.profiles import Profile, image_profile, text_profile
from diptych.core.runner import Runner
from diptych.errors import BundleError, DiptychError, EncoderFailed, GoldenMismatch, NotReady
from diptych.wiring.agreement import require_agreement
from diptych.wiring.bundles import LoadedBundle

LOG = logging.getLogger("diptych.tensorrt")
LOCK_POLL_S = 1.0
IMAGE, TEXT = "image_encoder", "text_encoder"  # what their engines are named after

BuildEngines = Callable[[EngineJob], Awaitable[None]]


class TensorRtUpgrade:
    """Build the engines of a loaded precision, or find them built, prove them, and let them serve.

    Whatever fails leaves what serves in its place, and `runner` tells why.
    """

    def __init__(
        self,
        loaded: LoadedBundle,
        runner: Runner,
        *,
        identity: str,
        cache_dir: Path,
        build: BuildEngines,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` hears, on the event loop, that `runner` runs on something else."""
        self._loaded: LoadedBundle | None = loaded
        self._name = loaded.precision
        self._runner = runner
        self._identity = identity
        self._cache_dir = cache_dir
        self._build = build
        self._on_change = on_change

    async def run(self) -> None:
        """To be called once."""
        assert self._loaded is not None, "called once"
        loaded, self._loaded = self._loaded, None
        self._runner.tell(TensorRt("building", "CUDA serves meanwhile"))
        try:
            encoder, how = await self._proven(loaded)
        except DiptychError as error:
            self._give_up(_reason(error))
        except Exception as error:
            LOG.exception("TensorRT failed")
            self._give_up(f"it failed unexpectedly: {type(error).__name__}")
        else:
            running = Running(loaded.precision, encoder.provider, cuda_graphs=None)
            # In a thread of its own: memory of what it replaces is given back in its turn. It is taken by a
            # server that stops, too, as it would be nobody's otherwise.
            taking = asyncio.to_thread(
                self._runner.take, encoder, lambda: running, TensorRt("serving", how), encoder.close
            )
            await asyncio.shield(taking)
            LOG.info("%s is served by TensorRT: %s", self._name, how)
            self._on_change()

    def _give_up(self, reason: str) -> None:
        self._runner.tell(TensorRt("unavailable", reason))
        LOG.warning("%s is not served by TensorRT, CUDA goes on: %s", self._name, reason)

    async def _proven(self, loaded: LoadedBundle) -> tuple[OnnxEncoder, str]:
        version = await asyncio.to_thread(require_tensorrt)
        gpu = loaded.encoder.device_name
        assert gpu is not None, "it runs on a GPU"
        folder = EngineFolder(self._cache_dir, self._identity, gpu, version)
        recipe = _recipe(loaded)
        async with _locked(folder):
            how = f"TensorRT {version}, engines of an earlier start"
            if await asyncio.to_thread(folder.holds, recipe):
                try:
                    return await _load(loaded, folder.path), how
                except GoldenMismatch:
                    raise
                except BundleError as error:
                    LOG.warning("engines that were kept do not load, they are built anew: %s", error)
            began = perf_counter()
            await self._make(loaded, folder, recipe)
            how = f"TensorRT {version}, engines built in {perf_counter() - began:.0f} s"
            return await _load(loaded, folder.path), how

    async def _make(self, loaded: LoadedBundle, folder: EngineFolder, recipe: Recipe) -> None:
        draft = await asyncio.to_thread(folder.draft)
        LOG.info("building engines for %s, which takes minutes", self._name)
        files = _files(loaded)
        options = _options(loaded, partial(engine_options, draft))
        await self._build(EngineJob(tuple(zip(map(str, files), options, strict=True))))
        await asyncio.to_thread(folder.publish, draft, recipe)


async def _load(loaded: LoadedBundle, folder: Path) -> OnnxEncoder:
    """The encoder of engines that are kept, proven. Raises BundleError, ConfigError, EncoderFailed.

    A server that stops does not wait: the proof ends with the batch that it is in, and what was loaded is
    closed.
    """
    stopped = threading.Event()
    try:
        return await loaded_in_thread(lambda: _proven_encoder(loaded, folder, stopped), OnnxEncoder.close)
    except asyncio.CancelledError:
        stopped.set()
        raise


def _proven_encoder(loaded: LoadedBundle, folder: Path, stopped: threading.Event) -> OnnxEncoder:
    bundle = loaded.bundle
    encoder = _open(loaded, folder)
    until_stopped = _UntilStopped(encoder, stopped)
    try:
        check_golden(bundle.golden, bundle.manifest, loaded.precision, bundle.tokenizer, until_stopped)
        require_agreement(loaded, until_stopped)
    except BaseException:
        encoder.close()
        raise
    return encoder


@dataclass(frozen=True)
class _UntilStopped:
    """An encoder for as long as anybody waits for what it proves."""

    encoder: OnnxEncoder
    stopped: threading.Event

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        self._require_wanted()
        return self.encoder.encode_image(pixels, on_start)

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        self._require_wanted()
        return self.encoder.encode_text(input_ids, on_start)

    def _require_wanted(self) -> None:
        if self.stopped.is_set():
            raise NotReady("the server is stopping")


def _open(loaded: LoadedBundle, folder: Path) -> OnnxEncoder:
    plan = loaded.plan
    image_options, text_options = _options(loaded, partial(engine_options, folder))
    image_file, text_file = _files(loaded)
    return OnnxEncoder(
        image_file,
        text_file,
        device="tensorrt",
        text_lengths=loaded.encoder.text_lengths,
        pad_id=loaded.bundle.manifest.text.pad_id,
        engines=Engines(
            image_options,
            text_options,
            sizes_up_to(plan.image_batch_size),
            sizes_up_to(plan.text_batch_size),
        ),
    )


def _recipe(loaded: LoadedBundle) -> Recipe:
    """All that decides what is built, beside the version, the GPU and TensorRT, which name the folder."""
    image, text = _options(loaded, kept_options)
    return {"onnxruntime": ort.__version__, "graphs": GRAPHS_REVISION, IMAGE: image, TEXT: text}


def _options(
    loaded: LoadedBundle, spelled: Callable[[str, str, Profile], Options]
) -> tuple[Options, Options]:
    """Of the image tower and the text tower."""
    manifest, plan = loaded.bundle.manifest, loaded.plan
    lengths = loaded.encoder.text_lengths or (manifest.text.context_length,)
    images = image_profile(manifest.image.size, plan.image_batch_size)
    texts = text_profile(lengths, plan.text_batch_size)
    return spelled(IMAGE, PIXELS.name, images), spelled(TEXT, INPUT_IDS.name, texts)


def _files(loaded: LoadedBundle) -> tuple[Path, Path]:
    bundle = loaded.bundle
    files = bundle.manifest.precisions[loaded.precision]
    return bundle.folder / files.image_file, bundle.folder / files.text_file


@asynccontextmanager
async def _locked(folder: EngineFolder) -> AsyncIterator[None]:
    while not await asyncio.to_thread(folder.try_lock):  # noqa: ASYNC110 - another process builds the same
        await asyncio.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        folder.unlock()


def _reason(error: DiptychError) -> str:
    """The error, and what the runtime said of a batch, which no client is told otherwise."""
    return (
        f"{error}: {error.__cause__}" if isinstance(error, EncoderFailed) and error.__cause__ else str(error)
    )
