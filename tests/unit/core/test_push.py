"""The rules of pushing a version: which names, which versions, how many at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from diptych.bundle.manifest import FileEntry, Manifest, complete
from diptych.core.push import MAX_PUSHES, PushedVersion, Pushes
from diptych.errors import Conflict, InvalidValue, Overloaded
from support.bundle_examples import draft
from support.default_model import DEFAULT_MODEL
from unit.core.core_fakes import until

FILES = ("image_encoder.onnx", "text_encoder.onnx", "golden.npz", "tokenizer.json")


def manifest_of(**changes: object) -> Manifest:
    files = {name: FileEntry(sha256="0" * 64, bytes=1) for name in FILES}
    return complete(draft(**changes), "theirs", 7, datetime.now(UTC), files)


class FakeStaging:
    """Staging folders in memory; a version arrives with its first chunk."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.published: list[str] = []
        self.n_open = 0
        self.chunks: list[bytes | bytearray] = []
        self.error: Exception | None = None

    @asynccontextmanager
    async def open(self, name: str, check: Callable[[Manifest], None]) -> AsyncIterator["FakeStaged"]:
        self.n_open += 1
        try:
            yield FakeStaged(self, name, check)
        finally:
            self.n_open -= 1


class FakeStaged:
    def __init__(self, staging: FakeStaging, name: str, check: Callable[[Manifest], None]) -> None:
        self._staging, self._name, self._check = staging, name, check

    async def write(self, chunk: bytes | bytearray) -> None:
        if not self._staging.chunks:
            self._check(self._staging.manifest)
        self._staging.chunks.append(chunk)

    async def finish(self) -> Manifest:
        if self._staging.error is not None:
            raise self._staging.error
        return self._staging.manifest

    async def find_copy(self, manifest: Manifest) -> int | None:
        await asyncio.sleep(0)
        return len(self._staging.published) or None

    async def publish(self, manifest: Manifest) -> int:
        await asyncio.sleep(0)
        self._staging.published.append(self._name)
        return len(self._staging.published)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


async def endless(begun: list[str]) -> AsyncIterator[bytes]:
    begun.append("")
    while True:
        await asyncio.sleep(0.01)
        yield b""


def push(pushes: Pushes, name: str = "mine") -> PushedVersion:
    return asyncio.run(pushes.push(name, chunks(b"a", b"b")))


def test_pushed_version_is_published_once_and_found_again() -> None:
    staging = FakeStaging(manifest_of())
    pushes = Pushes(staging, allow_ungated=False)
    first, second = push(pushes), push(pushes)
    assert (first.name, first.version, first.created) == ("mine", 1, True)
    assert (second.version, second.created) == (1, False)
    assert staging.chunks == [b"a", b"b"] * 2
    assert staging.n_open == 0


def test_two_equal_pushes_at_once_become_one_version() -> None:
    staging = FakeStaging(manifest_of())
    pushes = Pushes(staging, allow_ungated=False)

    async def both() -> list[PushedVersion]:
        return await asyncio.gather(*(pushes.push("mine", chunks(b"a")) for _ in range(2)))

    assert sorted(one.created for one in asyncio.run(both())) == [False, True]
    assert staging.published == ["mine"]


@pytest.mark.parametrize(
    ("name", "error", "complaint"),
    [
        (DEFAULT_MODEL, Conflict, f"'{DEFAULT_MODEL}' is kept for the default model.*a name of your own"),
        ("../up", InvalidValue, "model name '../up' must match"),
        ("", InvalidValue, "model name '' must match"),
    ],
)
def test_name_is_judged_before_anything_is_received(
    name: str, error: type[Exception], complaint: str
) -> None:
    staging = FakeStaging(manifest_of())
    with pytest.raises(error, match=complaint):
        push(Pushes(staging, allow_ungated=False), name)
    assert staging.chunks == []


def test_ungated_version_needs_a_server_that_serves_such() -> None:
    staging = FakeStaging(manifest_of(ungated=True))
    with pytest.raises(InvalidValue, match=r"manifest.json: the version is ungated.*--allow-ungated"):
        push(Pushes(staging, allow_ungated=False))
    assert staging.published == []
    assert push(Pushes(staging, allow_ungated=True)).created


async def test_pushes_beyond_the_limit_are_refused_until_one_ends() -> None:
    staging, begun = FakeStaging(manifest_of()), list[str]()
    pushes = Pushes(staging, allow_ungated=False)

    running = [asyncio.create_task(pushes.push("mine", endless(begun))) for _ in range(MAX_PUSHES)]
    await until(lambda: len(begun) == MAX_PUSHES)
    with pytest.raises(Overloaded, match=f"{MAX_PUSHES} versions are being pushed, limit is"):
        await pushes.push("mine", chunks(b"a"))
    running.pop().cancel()
    await until(lambda: staging.n_open < MAX_PUSHES)
    assert (await pushes.push("mine", chunks(b"a"))).created
    for one in running:
        one.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert staging.n_open == 0


def test_repository_that_takes_no_versions_says_why_before_anything_arrives() -> None:
    staging = FakeStaging(manifest_of())
    pushes = Pushes(staging, allow_ungated=False, refusal="the repository is that of a package")
    with pytest.raises(Conflict, match="is that of a package"):
        push(pushes)
    assert (staging.chunks, staging.published) == ([], [])
