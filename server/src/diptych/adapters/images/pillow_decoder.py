"""Decodes image files in threads and processes."""

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

LARGE_PX = 8_000_000  # 32 MB; the memory of smaller images is little, and soon reused


class ImageWorkers:
    """Threads and processes that decode image files, and that the decoders of all models share.

    Satisfies `Thumbnailer` and `HeaderReader` of `core.collections.stored.ports`. Pillow decodes without the
    GIL. Calls take turns, image by image. The images that all threads hold decoded at once have at most
    `max_decoded_px` pixels together (default `limits.max_px`); a larger image is decoded alone. The formats
    in `ISOLATED` are decoded in processes with a memory limit each. Separate threads wait for these
    processes, so that a decoder that hangs delays no image of another format.
    """

    def __init__(
        self,
        limits: preprocess.ImageLimits,
        *,
        n_threads: int,
        max_decoded_px: int | None = None,
        n_sharing: int = 1,
        processes: DecoderProcesses | None = None,
    ) -> None:
        """`n_threads` threads decode one image each; up to `n_sharing` threads resize a single image
        together.

        Unless `processes` are given there are as many processes as threads, but at most MAX_PROCESSES.
        """
        self.limits = limits
        self._budget = PixelBudget(max_decoded_px or limits.max_px)
        self._malloc_trim = MallocTrim()
        self._threads = FairExecutor("decode", n_threads)
        self.processes = processes or DecoderProcesses(
            limits_for(limits.max_px), min(n_threads, MAX_PROCESSES)
        )
        self._waiting = FairExecutor("decode-isolated", self.processes.n_processes)
        self.sharing = sharing(n_sharing)
        preprocess.silence_decoders()

    def decoder(self, spec: ImageSpec, mode: preprocess.DecodeMode = "exact") -> "PillowDecoder":
        """Return a decoder into the pixels of a model that prepares images by `spec`."""
        return PillowDecoder(self, spec, mode)

    def allow_decoded_px(self, max_px: int) -> None:
        """Raise the limit on all pixels that are held decoded at once to `max_px`, if it is lower."""
        self._budget.raise_to(max_px)

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        """Image file -> WebP, its longer side at most `size_px`.

        Raises UnsupportedImage, UndecodableImage, TooLarge.
        """

        def make(payload: bytes, unwanted: Event) -> bytes | InputError:
            return _outcome(partial(self._thumbnail, payload, size_px, unwanted))

        (result,) = await self.each(make, [payload])
        if isinstance(result, InputError):
            raise copy(
                result
                # Raising `result` itself would form a cycle with this frame, which only the garbage collector
                # frees.
            )
        return result

    async def headers(self, payloads: Sequence[bytes]) -> list[ImageInfo | InputError]:
        """N files -> N headers, or UnsupportedImage, UndecodableImage, TooLarge for each. Raises NotReady."""

        def read(payload: bytes, unwanted: Event) -> ImageInfo | InputError:
            return _outcome(partial(self._header, payload, unwanted))

        return await self.each(read, payloads)

    def close(self) -> None:
        """End the processes. Calls that wait for them raise NotReady."""
        self.processes.close()

    async def each(self, work: Callable[[bytes, Event], Result], payloads: Sequence[bytes]) -> list[Result]:
        """Run `work` on each payload in a thread; results in their order.

        Isolated and other formats do not wait for each other. If the call is cancelled, the processes that
        decode for it are ended.
        """
        unwanted = Event()
        isolated = [_is_isolated(payload) for payload in payloads]
        pieces = [partial(work, payload, unwanted) for payload in payloads]
        try:
            in_threads, in_processes = await asyncio.gather(
                self._threads.run([piece for piece, one in zip(pieces, isolated, strict=True) if not one]),
                self._waiting.run([piece for piece, one in zip(pieces, isolated, strict=True) if one]),
            )
        finally:
            unwanted.set()
        results = iter(in_threads), iter(in_processes)
        return [next(results[one]) for one in isolated]

    @contextmanager
    def room(self, n_px: int) -> Iterator[None]:
        """Wait for room for this many decoded pixels, and hold it inside the block."""
        try:
            with self._budget.hold(n_px):
                yield
        finally:
            if n_px >= LARGE_PX:
                self._malloc_trim.trim_soon()

    def _thumbnail(self, payload: bytes, size_px: int, unwanted: Event) -> bytes:
        if _is_isolated(payload):
            return self.processes.run(unwanted, load_thumbnail, payload, self.limits, size_px)
        with ExitStack() as room:

            def claim(info: ImageInfo) -> None:
                room.enter_context(self.room(info.width * info.height))

            return preprocess.thumbnail(payload, self.limits, size_px, claim)

    def _header(self, payload: bytes, unwanted: Event) -> ImageInfo:
        if _is_isolated(payload):
            return self.processes.run(unwanted, preprocess.probe, payload, self.limits)
        return preprocess.probe(payload, self.limits)


class PillowDecoder:
    """Decodes into the pixels that one model sees. Satisfies `diptych.core.encoding.embedder.Decoder`."""

    def __init__(self, workers: ImageWorkers, spec: ImageSpec, mode: preprocess.DecodeMode) -> None:
        """Make it with `ImageWorkers.decoder`."""
        self._workers = workers
        self._spec = spec
        self._mode: preprocess.DecodeMode = mode

    async def decode_many(
        self, payloads: Sequence[bytes], on_decoded: Callable[[float], None], *, alone: bool = False
    ) -> list[DecodedImage | InputError]:
        """N files -> N results: pixels of (S, S, 3), or UnsupportedImage, UndecodableImage or TooLarge.

        `on_decoded` is called with the seconds since the call began as each file is done. With `alone` idle
        threads help to resize the image.
        """
        began, shared = perf_counter(), self._workers.sharing if alone else ALONE

        def decode(payload: bytes, unwanted: Event) -> DecodedImage | InputError:
            try:
                return _outcome(partial(self._decode, payload, shared, unwanted))
            finally:
                on_decoded(perf_counter() - began)

        return await self._workers.each(decode, payloads)

    def _decode(self, payload: bytes, shared: Sharing, unwanted: Event) -> DecodedImage:
        workers, spec = self._workers, self._spec
        if _is_isolated(payload):
            options = payload, spec, workers.limits, self._mode
            return DecodedImage(*workers.processes.run(unwanted, load_picture, *options))
        seen: list[ImageInfo] = []
        with ExitStack() as room:

            def claim(info: ImageInfo) -> None:
                """Wait for room in the pixel budget; called with the header, before a pixel is decoded."""
                # the resized intermediate counts too
                width, height = resized_size(info.width, info.height, spec)
                room.enter_context(workers.room(info.width * info.height + width * height))
                seen.append(info)

            pixels = preprocess.load_pixels(payload, spec, workers.limits, self._mode, claim, sharing=shared)
        return DecodedImage(seen[0], pixels)


def _is_isolated(payload: bytes) -> bool:
    return sniff(payload) in ISOLATED


def _outcome(work: Callable[[], Result]) -> Result | InputError:
    """The result of `work`, or its InputError without the traceback, which would hold the picture."""
    try:
        return work()
    except InputError as error:
        return copy(error)
