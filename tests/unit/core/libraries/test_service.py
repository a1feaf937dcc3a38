"""When libraries are scanned, and what callers see of it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from diptych.core.libraries import service
from diptych.core.libraries.plan import Plan
from diptych.core.libraries.service import Libraries
from diptych.errors import Conflict, LibraryAway, NotFound

WITHIN_S = 30
NOTHING = Plan([], [], [], [], {}, {}, 0)


class FakeScanner:
    """A scanner whose runs wait for a gate, and then end or fail."""

    def __init__(self) -> None:
        self.known = self.progress = None
        self.problems: dict[str, str] = {}
        self.listing_s = 0.0
        self.runs: list[bool] = []  # whether each was asked for
        self.restores: list[bool] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, *, asked: bool = False, restores: bool = False) -> Plan:
        self.runs.append(asked)
        self.restores.append(restores)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return NOTHING


async def started(scanner: FakeScanner) -> Libraries:
    collections: Any = {"photos": SimpleNamespace()}
    scanners: Any = {"photos": scanner}
    libraries = Libraries(collections, scanners)
    await libraries.open()
    return libraries


async def until_runs(scanner: FakeScanner, n: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while len(scanner.runs) < n:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)


async def until_idle(libraries: Libraries) -> None:
    async with asyncio.timeout(WITHIN_S):
        while libraries.list()[0].state != "idle":  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)


async def test_next_look_waits_for_a_share_of_the_listing_and_not_of_what_was_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(service, "LOOK_SHARE", 1e-9)
    scanner = FakeScanner()
    scanner.gate.clear()
    libraries = await started(scanner)
    await until_runs(scanner, 1)
    await asyncio.sleep(0.05)  # the scan adds pictures
    scanner.gate.set()
    await until_runs(scanner, 3)
    scanner.listing_s = 1.0
    await until_runs(scanner, len(scanner.runs) + 1)
    n_runs = len(scanner.runs)
    await asyncio.sleep(0.05)
    assert len(scanner.runs) <= n_runs + 1
    await libraries.close()


async def test_scan_on_request_begins_at_once_and_tries_again_what_was_no_picture() -> None:
    scanner = FakeScanner()
    libraries = await started(scanner)
    await until_runs(scanner, 1)
    await until_idle(libraries)
    assert libraries.scan("photos").state == "scanning"
    await until_runs(scanner, 2)
    assert scanner.runs == [False, True]
    await until_idle(libraries)
    with pytest.raises(NotFound):
        libraries.scan("other")
    await libraries.close()


async def test_library_that_cannot_be_scanned_says_why_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.001)
    scanner = FakeScanner()
    scanner.error = LibraryAway("the disk is away")
    libraries = await started(scanner)
    await until_runs(scanner, 3)
    (found,) = libraries.list()
    assert (found.state, found.reason, found.scanned_at) == ("waiting", "the disk is away", None)
    assert len(caplog.records) == 1
    scanner.error = None
    await until_runs(scanner, len(scanner.runs) + 2)
    (found,) = libraries.list()
    assert (found.state, found.reason) == ("idle", "")
    assert found.scanned_at is not None
    await libraries.close()


async def test_collections_of_libraries_are_not_free() -> None:
    libraries = await started(FakeScanner())
    libraries.require_free("other")
    with pytest.raises(Conflict, match="start the server without --library photos=FOLDER"):
        libraries.require_free("photos")
    await libraries.close()


async def test_what_was_deleted_is_restored_by_the_scan_that_was_asked_to_and_by_no_other() -> None:
    scanner = FakeScanner()
    libraries = await started(scanner)
    await until_runs(scanner, 1)
    libraries.scan("photos", restores=True)
    await until_runs(scanner, 2)
    await until_idle(libraries)
    libraries.scan("photos")
    await until_runs(scanner, 3)
    assert scanner.restores == [False, True, False]
    await libraries.close()
