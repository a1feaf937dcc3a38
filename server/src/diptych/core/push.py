"""Push: take a model version from another machine into the model repository, file by file as it arrives."""

import asyncio
import logging
import re
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from diptych.bundle.manifest import NAME_PATTERN, Manifest
from diptych.bundle.repository import SHIPPED_NAME
from diptych.errors import Conflict, InvalidValue, Overloaded, PublishFailed

log = logging.getLogger(__name__)

MAX_PUSHES = 4  # at once; each may fill the disk with a bundle of the largest size
RETRY_S = 30.0


class StagedBundle(Protocol):
    """The files of one version while they arrive as a tar archive, in a folder that no reader sees.

    Raises InputError for files that cannot be a bundle, PublishFailed when the disk fails.
    """

    async def write(self, chunk: bytes | bytearray) -> None:
        """Take the next chunk of the archive, which must not change meanwhile."""
        ...

    async def finish(self) -> Manifest:
        """The manifest, once every file that it lists has arrived with its size and sha256, and is synced."""
        ...

    async def find_copy(self, manifest: Manifest) -> int | None:
        """The newest version of the same name that has the same content, if there is one."""
        ...

    async def publish(self, manifest: Manifest) -> int:
        """Make the files the next version, durably, in one step."""
        ...


class BundleStaging(Protocol):
    """Staging folders of the model repository."""

    def open(self, name: str, check: Callable[[Manifest], None]) -> AbstractAsyncContextManager[StagedBundle]:
        """A staging folder for a version of `name`, removed at the end of the block unless it was published.

        `check` is called with the manifest as soon as it has arrived, and raises if it is refused. Raises
        PublishFailed when the repository cannot be written.
        """
        ...


@dataclass(frozen=True)
class PushedVersion:
    """The version that the repository has after a push. `created`: it was not there before."""

    name: str
    version: int
    created: bool
    manifest: Manifest


class Pushes:
    """Receives versions. They serve once a rollout has made them active."""

    def __init__(self, staging: BundleStaging, *, allow_ungated: bool, refusal: str = "") -> None:
        """`refusal`: why the model repository takes no versions; empty if it does."""
        self._staging = staging
        self._refusal = refusal
        self._allow_ungated = allow_ungated
        self._n_running = 0
        self._publishing = asyncio.Lock()  # so that two equal pushes at once become one version

    async def push(self, name: str, chunks: AsyncIterable[bytes | bytearray]) -> PushedVersion:
        """Publish the bundle in the tar archive as the next version of `name`, unless it is there already.

        Name and version in its manifest are replaced. Raises Conflict for the name of the default model, or
        if the model repository takes none,
        InputError for an archive that is no bundle, or a bundle that may not be pushed, Overloaded for too
        many pushes at once, PublishFailed when the repository cannot be written.
        """
        _check_name(name)
        if self._refusal:
            raise Conflict(self._refusal)
        with self._place():
            async with self._staging.open(name, self._check) as staged:
                async for chunk in chunks:
                    await staged.write(chunk)
                manifest = await staged.finish()
                async with self._publishing:
                    pushed = await _publish_unless_there(name, staged, manifest)
        log.info("%s/%d was %s", name, pushed.version, "pushed" if pushed.created else "pushed again")
        return pushed

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._n_running >= MAX_PUSHES:
            raise Overloaded(f"{self._n_running} versions are being pushed, limit is {MAX_PUSHES}", RETRY_S)
        self._n_running += 1
        try:
            yield
        except PublishFailed as error:
            log.warning("a push failed: %s", error.message)
            raise
        finally:
            self._n_running -= 1

    def _check(self, manifest: Manifest) -> None:
        """Raises InvalidValue for a bundle that may not be pushed."""
        if manifest.ungated and not self._allow_ungated:
            raise InvalidValue(
                "the version is ungated, its parity is unknown: this server needs --allow-ungated to take it",
                "manifest.json",
            )


async def _publish_unless_there(name: str, staged: StagedBundle, manifest: Manifest) -> PushedVersion:
    found = await staged.find_copy(manifest)
    version = await staged.publish(manifest) if found is None else found
    return PushedVersion(name, version, found is None, manifest)


def _check_name(name: str) -> None:
    """Raises InvalidValue for a bad name, Conflict for the name of the default model."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidValue(f"model name {name[:100]!r} must match {NAME_PATTERN}")
    if name == SHIPPED_NAME:
        raise Conflict(
            f"the name {name!r} is kept for the default model, whose versions come with diptych: "
            "push under a name of your own"
        )
