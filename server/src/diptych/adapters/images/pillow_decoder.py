"""Decode image files in threads and processes; knows nothing of models beyond the bundle's image settings."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import partial
from threading import Event
from time import perf_counter
from typing import TypeVar

from diptych.adapters.images.decoder_child import load_picture, load_thumbnail
from diptych.adapters.images.decoder_processes import MAX_PROCESSES, DecoderProcesses, limits_for
from diptych.adapters.images.memory import MallocTrim, PixelBudget
from diptych.adapters.images.shared_work import sharing
from diptych.bundle.image import preprocess
from diptych.bundle.image.decode import ImageInfo
from diptych.bundle.image.formats import ISOLATED, sniff
from diptych.bundle.image.geometry import resized_size
from diptych.bundle.image.resize import ALONE, Sharing
from diptych.bundle.manifest import ImageSpec
from diptych.core.concurrency.fair_executor import FairExecutor
from diptych.core.types import DecodedImage
from diptych.errors import InputError

Result = TypeVar("Result")

LARGE_PX = 8_000_000  # of 32 MB: what smaller ones leave behind is little, and soon used again


class PillowDecoder:
    """Satisfies `Decoder` and `Thumbnailer` of `diptych.core.ports`; Pillow decodes without the GIL.

    Calls take turns, image by image. The images that all threads hold decoded at once have at most
    `max_decoded_px` pixels together, `limits.max_px` unless it is given; one of more is decoded alone.
    Formats of `ISOLATED` are decoded in processes, which have a limit of memory each; threads of their own
    wait for those, so that a decoder that hangs holds up no image of another format.
    """

    def __init__(
        self,
        spec: ImageSpec,
        limits: preprocess.ImageLimits,
        *,
        n_threads: int,
        mode: preprocess.DecodeMode = "exact",
        max_decoded_px: int | None = None,
        n_sharing: int = 1,
        processes: DecoderProcesses | None = None,
    ) -> None:
        """`n_threads` decode, an image each; up to `n_sharing` resize one that is alone.

        Unless `processes` are given there are as many as threads, but at most MAX_PROCESSES.
        """
        self._spec = spec
        self._limits = limits
        self._mode: preprocess.DecodeMode = mode
        self._budget = PixelBudget(max_decoded_px or limits.max_px)
        self._malloc_trim = MallocTrim()
        self._threads = FairExecutor("decode", n_threads)
        self._processes = processes or DecoderProcesses(
            limits_for(limits.max_px), min(n_threads, MAX_PROCESSES)
        )
        self._waiting = FairExecutor("decode-isolated", self._processes.n_processes)
        self._sharing = sharing(n_sharing)
        preprocess.silence_decoders()

    async def decode_many(
        self, payloads: Sequence[bytes], on_decoded: Callable[[float], None], *, alone: bool = False
    ) -> list[DecodedImage | InputError]:
        """N files -> N pictures of (S, S, 3), or UnsupportedImage, UndecodableImage, TooLarge."""
        began, shared = perf_counter(), self._sharing if alone else ALONE

        def decode(payload: bytes, unwanted: Event) -> DecodedImage | InputError:
            try:
                return _outcome(partial(self._decode, payload, shared, unwanted))
            finally:
                on_decoded(perf_counter() - began)

        return await self._each(decode, payloads)

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        """WebP, the longer side at most `size_px`. Raises UnsupportedImage, UndecodableImage, TooLarge."""

        def make(payload: bytes, unwanted: Event) -> bytes | InputError:
            return _outcome(partial(self._thumbnail, payload, size_px, unwanted))

        (result,) = await self._each(make, [payload])
        if isinstance(result, InputError):
            raise copy(result)  # a frame that holds what it raises is garbage that has to be found
        return result

    def close(self) -> None:
        """End the processes. What they were decoding raises NotReady."""
        self._processes.close()

    async def _each(self, work: Callable[[bytes, Event], Result], payloads: Sequence[bytes]) -> list[Result]:
        """Results in order; neither kind of format waits for the other. When this is cancelled, processes
        that decode for it are ended."""
        unwanted = Event()
        isolated = [_is_isolated(payload) for payload in payloads]
        pieces = [partial(work, payload, unwanted) for payload in payloads]
        try:
            here, beside = await asyncio.gather(
                self._threads.run([piece for piece, one in zip(pieces, isolated, strict=True) if not one]),
                self._waiting.run([piece for piece, one in zip(pieces, isolated, strict=True) if one]),
            )
        finally:
            unwanted.set()
        results = iter(here), iter(beside)
        return [next(results[one]) for one in isolated]

    def _decode(self, payload: bytes, shared: Sharing, unwanted: Event) -> DecodedImage:
        if _is_isolated(payload):
            options = payload, self._spec, self._limits, self._mode
            return DecodedImage(*self._processes.run(unwanted, load_picture, *options))
        seen: list[ImageInfo] = []
        with ExitStack() as room:

            def claim(info: ImageInfo) -> None:
                """Once the header says how large the picture is, and before a pixel is decoded."""
                width, height = resized_size(info.width, info.height, self._spec)  # it counts too
                room.enter_context(self._room(info.width * info.height + width * height))
                seen.append(info)

            pixels = preprocess.load_pixels(
                payload, self._spec, self._limits, self._mode, claim, sharing=shared
            )
        return DecodedImage(seen[0], pixels)

    def _thumbnail(self, payload: bytes, size_px: int, unwanted: Event) -> bytes:
        if _is_isolated(payload):
            return self._processes.run(unwanted, load_thumbnail, payload, self._limits, size_px)
        with ExitStack() as room:

            def claim(info: ImageInfo) -> None:
                room.enter_context(self._room(info.width * info.height))

            return preprocess.thumbnail(payload, self._limits, size_px, claim)

    @contextmanager
    def _room(self, n_px: int) -> Iterator[None]:
        try:
            with self._budget.hold(n_px):
                yield
        finally:
            if n_px >= LARGE_PX:
                self._malloc_trim.trim_soon()


def _is_isolated(payload: bytes) -> bool:
    return sniff(payload) in ISOLATED


def _outcome(work: Callable[[], Result]) -> Result | InputError:
    """What `work` returned, or its error without a trace, which would hold the picture as long."""
    try:
        return work()
    except InputError as error:
        return copy(error)
