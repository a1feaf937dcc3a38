"""Versions are loaded for their first user and closed after their last."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from diptych.core.encoding.versions import LoadedVersions
from diptych.errors import BundleError, EncoderFailed, NotReady
from unit.core.core_fakes import until
from unit.core.version_fakes import ONE, TWO, Loads


def story(run: Callable[[LoadedVersions, Loads], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        loads = Loads()
        versions = LoadedVersions(loads)
        await run(versions, loads)
        await versions.close()

    asyncio.run(whole())


def test_users_share_a_version_which_is_closed_after_the_last_has_released_it() -> None:
    async def run(versions: LoadedVersions, loads: Loads) -> None:
        first, second = await asyncio.gather(versions.acquire(ONE), versions.acquire(ONE))
        assert first is second
        assert loads.loaded == [ONE]
        versions.release(first)
        with versions.hold(first):
            versions.release(first)
            assert versions.loaded() == [first]
        assert versions.loaded() == []
        await until(lambda: loads.closed == [ONE])
        again = await versions.acquire(ONE)
        assert again is not first

    story(run)


def test_pipelines_of_all_loaded_versions_are_reported() -> None:
    seen: list[list[int]] = []

    async def run(versions: LoadedVersions, loads: Loads) -> None:
        versions.on_change(lambda pipelines: seen.append([one.model.version for one in pipelines]))
        versions.adopt(loads(ONE))
        second = await versions.acquire(TWO)
        await until(lambda: seen[-1] == [1, 2])
        versions.release(second)
        await until(lambda: seen[-1] == [1])
        assert seen[0] == []

    story(run)


def test_version_that_was_loaded_before_the_start_has_one_user() -> None:
    async def run(versions: LoadedVersions, loads: Loads) -> None:
        version = versions.adopt(loads(ONE))
        await asyncio.sleep(0)
        assert await versions.acquire(ONE) is version
        versions.release(version)
        assert versions.loaded() == [version]
        versions.release(version)
        await until(lambda: loads.closed == [ONE])

    story(run)


def test_failure_reaches_every_user_and_the_next_one_tries_again() -> None:
    async def run(versions: LoadedVersions, loads: Loads) -> None:
        loads.failure = BundleError("golden image 1")
        for found in await asyncio.gather(
            versions.acquire(ONE), versions.acquire(ONE), return_exceptions=True
        ):
            assert found is loads.failure
        loads.failure = EncoderFailed("another")
        with pytest.raises(EncoderFailed):
            await versions.acquire(ONE)
        loads.failure = None
        assert (await versions.acquire(ONE)).target == ONE

    story(run)


def test_version_whose_only_user_gave_up_while_it_was_loaded_is_closed() -> None:
    async def run(versions: LoadedVersions, loads: Loads) -> None:
        loads.gate.clear()
        waiting = asyncio.create_task(versions.acquire(ONE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        loads.gate.set()
        await until(lambda: loads.closed == [ONE])
        assert versions.loaded() == []

    story(run)


def test_nothing_is_loaded_once_the_server_stops() -> None:
    async def run(versions: LoadedVersions, loads: Loads) -> None:
        await versions.close()
        with pytest.raises(NotReady):
            await versions.acquire(ONE)
        assert loads.loaded == []

    story(run)
