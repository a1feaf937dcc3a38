"""Replace CUDA by TensorRT for a precision, in the background while it serves."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import perf_counter

from diptych.adapters.cuda.device import first_gpu
from diptych.adapters.tensorrt.build import REVISION, PlanJob
from diptych.adapters.tensorrt.encoder import TensorrtEncoder
from diptych.adapters.tensorrt.library import tensorrt_version
from diptych.bundle.golden import check_golden
from diptych.bundle.tensorrt_build import PLAN_SUFFIX, Extent, Profile, usual_lengths
from diptych.core.concurrency.load_or_discard import load_or_discard
from diptych.core.encoding.swappable_encoder import SwappableEncoder
from diptych.core.tuning.precision import Running, TensorRt
from diptych.errors import BundleError, DiptychError, EncoderFailed, GoldenMismatch
from diptych.wiring.loading.agreement import require_agreement
from diptych.wiring.loading.bundles import LoadedBundle

LOG = logging.getLogger("diptych.tensorrt")

BuildPlans = Callable[[Sequence[PlanJob]], Awaitable[None]]


class TensorRtUpgrade:
    """Builds the TensorRT engines of a loaded precision or finds them, proves them, and lets them serve.

    When a step fails, CUDA keeps serving and the TensorRT state of `encoder` has the reason.
    """

    def __init__(
        self,
        loaded: LoadedBundle,
        encoder: SwappableEncoder,
        *,
        identity: str,
        cache_dir: Path,
        build: BuildPlans,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called on the event loop after `encoder` has changed to TensorRT."""
        self._loaded: LoadedBundle | None = loaded
        self._name = loaded.precision
        self._encoder = encoder
        self._cache_dir = cache_dir / identity
        self._build = build
        self._on_change = on_change

    async def run(self) -> None:
        """Build, prove and exchange. Call it once."""
        assert self._loaded is not None, "called once"
        loaded, self._loaded = self._loaded, None
        self._encoder.set_tensorrt_state(TensorRt("building", "CUDA serves meanwhile"))
        try:
            tensorrt, how = await self._proven(loaded)
        except DiptychError as error:
            self._give_up(_reason(error))
        except OSError as error:
            self._give_up(f"the engine folder {self._cache_dir} cannot be used: {error.strerror}")
        except Exception as error:
            LOG.exception("TensorRT failed")
            self._give_up(f"it failed unexpectedly: {type(error).__name__}")
        else:
            running = Running(loaded.precision, tensorrt.provider, cuda_graphs=None)
            # In a thread, since it frees the memory of the replaced encoder. Shielded, since otherwise nobody
            # would own the new encoder when the server stops now.
            exchange = asyncio.to_thread(
                self._encoder.swap, tensorrt, lambda: running, TensorRt("serving", how), tensorrt.close
            )
            await asyncio.shield(exchange)
            LOG.info("%s is served by TensorRT: %s", self._name, how)
            self._on_change()

    def _give_up(self, reason: str) -> None:
        self._encoder.set_tensorrt_state(TensorRt("unavailable", reason))
        LOG.warning("%s is not served by TensorRT, CUDA keeps serving it: %s", self._name, reason)

    async def _proven(self, loaded: LoadedBundle) -> tuple[TensorrtEncoder, str]:
        version = await asyncio.to_thread(tensorrt_version)
        gpu = re.sub(r"[^a-z0-9]+", "-", first_gpu().name.lower()).strip("-")
        jobs = _plan_jobs(loaded, self._cache_dir / f"{gpu}-{version}")
        if all(job.target.is_file() for job in jobs):
            try:
                return await _load(loaded, jobs), f"TensorRT {version}, engines from an earlier start"
            except GoldenMismatch:
                raise
            except BundleError as error:
                LOG.warning("cached engines do not load and are built again: %s", error)
        began = perf_counter()
        LOG.info("building engines for %s, which takes minutes", self._name)
        await asyncio.to_thread(_make_empty, jobs[0].target.parent)
        await self._build(jobs)
        how = f"TensorRT {version}, engines built in {perf_counter() - began:.0f} s"
        return await _load(loaded, jobs), how


def _plan_jobs(loaded: LoadedBundle, folder: Path) -> list[PlanJob]:
    """Return the plans of both towers. A file name has a digest of everything that determines the plan."""
    bundle, plan = loaded.bundle, loaded.plan
    files = bundle.manifest.precisions[loaded.precision]
    images = Profile(batch=_up_to(plan.image_batch_size))
    texts = Profile(batch=_up_to(plan.text_batch_size), length=usual_lengths(bundle.manifest.text.lengths))
    return [
        PlanJob(graph=bundle.folder / file, target=folder / _plan_name(tower, profile), profiles=[profile])
        for tower, file, profile in (
            ("image_encoder", files.image_file, images),
            ("text_encoder", files.text_file, texts),
        )
    ]


def _up_to(batch_size: int) -> Extent:
    """Return the profile of batches of up to this size, fastest for full batches."""
    return Extent(min=1, opt=batch_size, max=batch_size)


def _plan_name(tower: str, profile: Profile) -> str:
    digest = hashlib.sha256(f"{REVISION} {profile}".encode()).hexdigest()
    return f"{tower}-{digest[:12]}{PLAN_SUFFIX}"


def _make_empty(folder: Path) -> None:
    """Make the folder, or delete its files: they have other shapes, are outdated, or do not load."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()


async def _load(loaded: LoadedBundle, jobs: Sequence[PlanJob]) -> TensorrtEncoder:
    """Load the built plans and prove them. Raises BundleError, ConfigError, EncoderFailed.

    A stopping server does not wait: the encoder is closed once it is loaded.
    """
    return await load_or_discard(lambda: _proven_encoder(loaded, jobs), TensorrtEncoder.close)


def _proven_encoder(loaded: LoadedBundle, jobs: Sequence[PlanJob]) -> TensorrtEncoder:
    bundle = loaded.bundle
    encoder = TensorrtEncoder(*(job.target for job in jobs))
    try:
        check_golden(bundle.golden, bundle.manifest, loaded.precision, bundle.tokenizer, encoder)
        require_agreement(loaded, encoder)
    except BaseException:
        encoder.close()
        raise
    return encoder


def _reason(error: DiptychError) -> str:
    """Return the error with the runtime's own message, which clients do not see elsewhere."""
    return (
        f"{error}: {error.__cause__}" if isinstance(error, EncoderFailed) and error.__cause__ else str(error)
    )
