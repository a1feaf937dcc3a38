"""Read the images of a call and cut them into batches that fit into one request."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, TypeVar

from diptych_client.errors import FileTooLarge, InvalidCall, UnreadableFile
from diptych_client.pixels import PillowImage, PixelArray, array_problem
from diptych_client.results.server import ServerVersion
from diptych_client.steps import EncodePng, ReadFile, Request, Steps, result_of

T = TypeVar("T")
ImageT = TypeVar("ImageT")

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | PillowImage | PixelArray
"""An image: the path or the bytes of a file in any format that the server decodes, a Pillow image, or an
array of pixels, (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class ImageUrl:
    """An `https://` URL of an image that the server fetches, if image URLs are turned on there."""

    url: str = field(repr=False)  # may contain a secret

    def __str__(self) -> str:
        return self.url


ImageSource: TypeAlias = ImageInput | ImageUrl
"""A local image, or the URL of an image that the server fetches."""

MAX_BATCH_IMAGES = 64
MAX_BATCH_BYTES = 32_000_000
"""A third of the server's default limit of a body. A larger image is sent alone."""


def require_list(name: str, values: Sequence[T]) -> Sequence[T]:
    """Return `values`. Raises TypeError for a single text or image, which Python would iterate over."""
    if isinstance(values, str | bytes | os.PathLike):
        raise TypeError(f"{name} must be a list, not one {type(values).__name__}")
    return values


def image_list(images: Sequence[ImageT]) -> Sequence[ImageT]:
    """Return images, given as a list or as one array, as a list. Raises InvalidCall for an invalid array."""
    if isinstance(images, PillowImage) or (isinstance(images, PixelArray) and len(images.shape) != 4):
        raise TypeError(f"images must be a list, not one {type(images).__name__}")
    found = list(require_list("images", images))
    for index, image in enumerate(found):
        if isinstance(image, PixelArray) and (problem := array_problem(image)):
            raise InvalidCall(f"images[{index}] {problem}")
    return found


def load(image: ImageInput) -> Steps[bytes]:
    """Return the bytes of one image file. Raises UnreadableFile, and InvalidCall for an invalid array."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, PixelArray) and (problem := array_problem(image)):
        raise InvalidCall(f"the image {problem}")
    if isinstance(image, PillowImage | PixelArray):
        content: bytes | UnreadableFile = yield EncodePng(image)
    else:
        content = yield ReadFile(Path(image), MAX_BATCH_BYTES)
        if isinstance(content, FileTooLarge):
            content = yield ReadFile(Path(image), (yield from _max_image_bytes()))
    if isinstance(content, UnreadableFile):
        raise content
    return content


def _max_image_bytes() -> Steps[int]:
    """The size of the largest image that the server takes. Only asked for large files."""
    server = yield from result_of(Request("GET", "/version"), ServerVersion)
    return server.max_image_bytes or MAX_BATCH_BYTES


@dataclass(frozen=True)
class LoadedImage:
    """The `index`-th image of a call: the bytes of its file, or why it cannot be read."""

    index: int
    payload: bytes | UnreadableFile

    def bytes_or_raise(self) -> bytes:
        """Return the bytes. Raises UnreadableFile if there are none."""
        if isinstance(self.payload, UnreadableFile):
            raise self.payload
        return self.payload


class ImageBatches:
    """Reads images in order and returns them in batches with limits in number and in bytes.

    It holds at most one batch in memory, and the first image that did not fit into it.
    """

    def __init__(
        self,
        images: Sequence[ImageInput],
        max_images: int = MAX_BATCH_IMAGES,
        max_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        self._images = enumerate(images)
        self._held_back: LoadedImage | None = None
        self._max_images = max_images
        self._max_bytes = max_bytes

    def take(self) -> Steps[list[LoadedImage]]:
        """Return the next batch, unreadable files included; empty after the last."""
        batch: list[LoadedImage] = []
        n_bytes = 0
        while len(batch) < self._max_images:
            loaded = yield from self._next()
            if loaded is None:
                break
            size = 0 if isinstance(loaded.payload, UnreadableFile) else len(loaded.payload)
            if batch and n_bytes + size > self._max_bytes:
                self._held_back = loaded
                break
            batch.append(loaded)
            n_bytes += size
        return batch

    def _next(self) -> Steps[LoadedImage | None]:
        if self._held_back is not None:
            loaded, self._held_back = self._held_back, None
            return loaded
        index, image = next(self._images, (0, None))
        if image is None:
            return None
        try:
            return LoadedImage(index, (yield from load(image)))
        except UnreadableFile as error:
            return LoadedImage(index, error)


@dataclass(frozen=True)
class SourceBatch:
    """The images of one request, from the `start`-th of the call on: either files only or URLs only."""

    start: int
    files: Sequence[LoadedImage] = ()
    urls: Sequence[str] = ()


class SourceBatches:
    """Returns images in order, in batches of only files or only URLs, which need different kinds of body."""

    def __init__(self, images: Sequence[ImageSource]) -> None:
        runs = groupby(images, lambda image: isinstance(image, ImageUrl))
        self._runs = deque((is_url, list(run)) for is_url, run in runs)
        self._files: ImageBatches | None = None
        self._start = 0

    def take(self) -> Steps[SourceBatch | None]:
        """Return the next batch; None after the last."""
        if self._files is not None:
            files = yield from self._files.take()
            if files:
                return self._counted(SourceBatch(self._start, files=files), len(files))
            self._files = None
        if not self._runs:
            return None
        is_url, run = self._runs.popleft()
        if not is_url:
            self._files = ImageBatches([image for image in run if not isinstance(image, ImageUrl)])
            return (yield from self.take())
        urls = [str(image) for image in run[:MAX_BATCH_IMAGES]]
        if len(run) > MAX_BATCH_IMAGES:
            self._runs.appendleft((True, run[MAX_BATCH_IMAGES:]))
        return self._counted(SourceBatch(self._start, urls=urls), len(urls))

    def _counted(self, batch: SourceBatch, n_images: int) -> SourceBatch:
        self._start += n_images
        return batch
