"""Images as callers give them, read and cut into batches; knows nothing of HTTP."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, TypeVar

from diptych_client.errors import InvalidCall, UnreadableFile
from diptych_client.pixels import PillowImage, PixelArray, fault_of
from diptych_client.steps import EncodePng, ReadFile, Steps

T = TypeVar("T")
ImageT = TypeVar("ImageT")

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | PillowImage | PixelArray
"""An image: the path of a file or the bytes of one, in any format that the server decodes; an image of
Pillow; or an array of pixels, (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class ImageUrl:
    """An image that the server fetches by itself, where its image URLs are turned on: `https://...`."""

    url: str = field(repr=False)  # it may hold a secret

    def __str__(self) -> str:
        return self.url


ImageSource: TypeAlias = ImageInput | ImageUrl
"""An image from here, or a URL that the server gets it from."""

MAX_BATCH_IMAGES = 64
MAX_BATCH_BYTES = 32_000_000
"""A third of the server's default limit on a body; one image larger than this travels alone."""


def listed(name: str, values: Sequence[T]) -> Sequence[T]:
    """`values`, unless it is a single text or image, whose letters or bytes would be taken for a list."""
    if isinstance(values, str | bytes | os.PathLike):
        raise TypeError(f"{name} must be a list, not one {type(values).__name__}")
    return values


def images_of(images: Sequence[ImageT]) -> Sequence[ImageT]:
    """A list of images, or an array of them, as a list. Raises InvalidCall for what cannot be an image."""
    if isinstance(images, PillowImage) or (isinstance(images, PixelArray) and len(images.shape) != 4):
        raise TypeError(f"images must be a list, not one {type(images).__name__}")
    every = list(listed("images", images))
    for index, image in enumerate(every):
        if isinstance(image, PixelArray) and (fault := fault_of(image)):
            raise InvalidCall(f"images[{index}] {fault}")
    return every


def load(image: ImageInput) -> Steps[bytes]:
    """The bytes of one image. Raises UnreadableFile, and InvalidCall for an array that is no image."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, PixelArray) and (fault := fault_of(image)):
        raise InvalidCall(f"the image {fault}")
    need = EncodePng(image) if isinstance(image, PillowImage | PixelArray) else ReadFile(Path(image))
    content: bytes | UnreadableFile = yield need
    if isinstance(content, UnreadableFile):
        raise content
    return content


@dataclass(frozen=True)
class Loaded:
    """The `index`-th image of a call: its bytes, or why there are none."""

    index: int
    payload: bytes | UnreadableFile

    def bytes_or_raise(self) -> bytes:
        """The bytes. Raises the UnreadableFile in their place."""
        if isinstance(self.payload, UnreadableFile):
            raise self.payload
        return self.payload


class ImageBatches:
    """Reads images in order and hands them out in batches bounded in number and in bytes.

    At most one batch and the image that did not fit into it are in memory.
    """

    def __init__(
        self,
        images: Sequence[ImageInput],
        max_images: int = MAX_BATCH_IMAGES,
        max_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        self._waiting = enumerate(images)
        self._left_over: Loaded | None = None
        self._max_images = max_images
        self._max_bytes = max_bytes

    def take(self) -> Steps[list[Loaded]]:
        """The next batch; empty when all images have been handed out. Unreadable files are entries of it."""
        batch: list[Loaded] = []
        n_bytes = 0
        while len(batch) < self._max_images:
            loaded = yield from self._next()
            if loaded is None:
                break
            size = 0 if isinstance(loaded.payload, UnreadableFile) else len(loaded.payload)
            if batch and n_bytes + size > self._max_bytes:
                self._left_over = loaded
                break
            batch.append(loaded)
            n_bytes += size
        return batch

    def _next(self) -> Steps[Loaded | None]:
        if self._left_over is not None:
            loaded, self._left_over = self._left_over, None
            return loaded
        index, image = next(self._waiting, (0, None))
        if image is None:
            return None
        try:
            return Loaded(index, (yield from load(image)))
        except UnreadableFile as error:
            return Loaded(index, error)


@dataclass(frozen=True)
class SourceBatch:
    """The images of one request, from the `start`-th of the call on: all of them files, or all URLs."""

    start: int
    files: Sequence[Loaded] = ()
    urls: Sequence[str] = ()


class SourceBatches:
    """Hands out images in the order given, files and URLs apart: they travel in bodies of different kinds."""

    def __init__(self, images: Sequence[ImageSource]) -> None:
        runs = groupby(images, lambda image: isinstance(image, ImageUrl))
        self._runs = deque((is_url, list(run)) for is_url, run in runs)
        self._files: ImageBatches | None = None
        self._start = 0

    def take(self) -> Steps[SourceBatch | None]:
        """The next batch; None when all images have been handed out."""
        if self._files is not None:
            files = yield from self._files.take()
            if files:
                return self._handed_out(SourceBatch(self._start, files=files), len(files))
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
        return self._handed_out(SourceBatch(self._start, urls=urls), len(urls))

    def _handed_out(self, batch: SourceBatch, n_images: int) -> SourceBatch:
        self._start += n_images
        return batch
