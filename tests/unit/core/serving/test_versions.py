"""Versions are loaded for their first user and closed after their last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from diptych.core.serving.versions import Versions
from diptych.errors import BundleError, EncoderFailed, NotReady
from unit.core.core_fakes import until
from unit.core.version_fakes import ONE, TWO, Loads


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Versions, Loads]]:
    loads = Loads()
    versions = Versions(loads)
    yield versions, loads
    await versions.close()


async def test_users_share_a_version_which_is_closed_after_the_last_has_released_it() -> None:
    async with opened() as (versions, loads):
        first, second = await asyncio.gather(versions.acquire(ONE), versions.acquire(ONE))
        assert first is second
        assert loads.loaded == [ONE]
        first.release()
        with first.use() as version:
            second.release()
            assert versions.loaded() == [version]
        assert versions.loaded() == []
        await until(lambda: loads.closed == [ONE])
        again = await versions.acquire(ONE)
        assert again is not first


async def test_models_of_all_loaded_versions_are_reported() -> None:
    loads, seen = Loads(), list[list[int]]()
    versions = Versions(loads, on_change=lambda models: seen.append([one.version for one in models]))
    versions.adopt(loads(ONE))
    second = await versions.acquire(TWO)
    assert seen == [[1], [1, 2]]
    second.release()
    assert seen == [[1], [1, 2], [1]]
    await versions.close()


async def test_failure_reaches_every_user_and_the_next_one_tries_again() -> None:
    async with opened() as (versions, loads):
        loads.failure = BundleError("golden image 1")
        for found in await asyncio.gather(
            versions.acquire(ONE), versions.acquire(ONE), return_exceptions=True
        ):
            assert found is loads.failure
        loads.failure = EncoderFailed("another")
        with pytest.raises(EncoderFailed):
            await versions.acquire(ONE)
        loads.failure = None
        assert (await versions.acquire(ONE)).value.target == ONE


async def test_version_whose_only_user_gave_up_while_it_was_loaded_is_closed() -> None:
    async with opened() as (versions, loads):
        loads.gate.clear()
        waiting = asyncio.create_task(versions.acquire(ONE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        loads.gate.set()
        await until(lambda: loads.closed == [ONE])
        assert versions.loaded() == []


async def test_nothing_is_loaded_once_the_server_stops() -> None:
    async with opened() as (versions, loads):
        await versions.close()
        with pytest.raises(NotReady):
            await versions.acquire(ONE)
        assert loads.loaded == []
