"""Move a precision that CUDA serves to TensorRT, in the background. Knows nothing of services."""

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
    """Build the engines of a loaded precision, or find them built, prove them, and let them serve.

    Whatever fails leaves what serves in its place, and `runner` tells why.
    """

    def __init__(
        self,
        loaded: LoadedBundle,
        runner: SwappableEncoder,
        *,
        identity: str,
        cache_dir: Path,
        build: BuildPlans,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` hears, on the event loop, that `runner` runs on something else."""
        self._loaded: LoadedBundle | None = loaded
        self._name = loaded.precision
        self._runner = runner
        self._cache_dir = cache_dir / identity
        self._build = build
        self._on_change = on_change

    async def run(self) -> None:
        """To be called once."""
        assert self._loaded is not None, "called once"
        loaded, self._loaded = self._loaded, None
        self._runner.set_tensorrt_state(TensorRt("building", "CUDA serves meanwhile"))
        try:
            encoder, how = await self._proven(loaded)
        except DiptychError as error:
            self._give_up(_reason(error))
        except OSError as error:
            self._give_up(f"the folder of engines {self._cache_dir} cannot be used: {error.strerror}")
        except Exception as error:
            LOG.exception("TensorRT failed")
            self._give_up(f"it failed unexpectedly: {type(error).__name__}")
        else:
            running = Running(loaded.precision, encoder.provider, cuda_graphs=None)
            # In a thread of its own: memory of what it replaces is given back in its turn. It is taken by a
            # server that stops, too, as it would be nobody's otherwise.
            taking = asyncio.to_thread(
                self._runner.swap, encoder, lambda: running, TensorRt("serving", how), encoder.close
            )
            await asyncio.shield(taking)
            LOG.info("%s is served by TensorRT: %s", self._name, how)
            self._on_change()

    def _give_up(self, reason: str) -> None:
        self._runner.set_tensorrt_state(TensorRt("unavailable", reason))
        LOG.warning("%s is not served by TensorRT, CUDA goes on: %s", self._name, reason)

    async def _proven(self, loaded: LoadedBundle) -> tuple[TensorrtEncoder, str]:
        version = await asyncio.to_thread(tensorrt_version)
        gpu = re.sub(r"[^a-z0-9]+", "-", first_gpu().name.lower()).strip("-")
        jobs = _jobs(loaded, self._cache_dir / f"{gpu}-{version}")
        if all(job.target.is_file() for job in jobs):
            try:
                return await _load(loaded, jobs), f"TensorRT {version}, engines of an earlier start"
            except GoldenMismatch:
                raise
            except BundleError as error:
                LOG.warning("engines that were kept do not load, they are built anew: %s", error)
        began = perf_counter()
        LOG.info("building engines for %s, which takes minutes", self._name)
        await asyncio.to_thread(_emptied, jobs[0].target.parent)
        await self._build(jobs)
        how = f"TensorRT {version}, engines built in {perf_counter() - began:.0f} s"
        return await _load(loaded, jobs), how


def _jobs(loaded: LoadedBundle, folder: Path) -> list[PlanJob]:
    """The plans of both towers, each in a file that is named after all that decides what is built."""
    bundle, plan = loaded.bundle, loaded.plan
    files = bundle.manifest.precisions[loaded.precision]
    images = Profile(batch=_up_to(plan.image_batch_size))
    texts = Profile(batch=_up_to(plan.text_batch_size), length=usual_lengths(bundle.manifest.text.lengths))
    return [
        PlanJob(graph=bundle.folder / file, target=folder / _file(tower, profile), profiles=[profile])
        for tower, file, profile in (
            ("image_encoder", files.image_file, images),
            ("text_encoder", files.text_file, texts),
        )
    ]


def _up_to(batch_size: int) -> Extent:
    """Fastest when full."""
    return Extent(min=1, opt=batch_size, max=batch_size)


def _file(tower: str, profile: Profile) -> str:
    digest = hashlib.sha256(f"{REVISION} {profile}".encode()).hexdigest()
    return f"{tower}-{digest[:12]}{PLAN_SUFFIX}"


def _emptied(folder: Path) -> None:
    """What is in it is of other shapes, of an earlier server, or does not load."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()


async def _load(loaded: LoadedBundle, jobs: Sequence[PlanJob]) -> TensorrtEncoder:
    """The encoder of plans that were built, proven. Raises BundleError, ConfigError, EncoderFailed.

    A server that stops does not wait: what was loaded is closed.
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
    """The error, and what the runtime said of a batch, which no client is told otherwise."""
    return (
        f"{error}: {error.__cause__}" if isinstance(error, EncoderFailed) and error.__cause__ else str(error)
    )
