"""Pictures of a library are read from their place by what works in the background, too."""

# ruff: noqa: ASYNC240 - files are moved between steps of a story

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.files.library_folder import FolderOfLibrary
from diptych.core.collections.upkeep import reembed
from diptych.core.libraries.scan import Scanner
from diptych.core.rollout.types import Rollout
from integration.store_parts import Opened, stories
from support.pictures import picture
from support.tiny_bundle import TINY, write_tiny_bundle

Story = Callable[[Opened, Scanner], Coroutine[Any, Any, None]]
WITHIN_S = 30
MAX_BYTES = 10**6


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    for colour in ("red", "green", "blue"):
        (root / f"{colour}.png").write_bytes(picture(colour))
        os.utime(root / f"{colour}.png", (1e9, 1e9))
    return root


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Callable[[Story], None]:
    """Run a story over a library that was scanned; two versions are there."""
    for seed in range(2):
        write_tiny_bundle(tmp_path / "model_repo", seed=seed)
    folder = FolderOfLibrary("photos", root, MAX_BYTES)

    def run_story(story: Story) -> None:
        async def whole(opened: Opened) -> None:
            await opened.collections.create("photos", "reference")
            scanner = scanner_of(opened, folder)
            await scanner.run()
            await story(opened, scanner)

        stories(tmp_path / "model_repo", tmp_path / "data")(whole, libraries={"photos": folder})

    (tmp_path / "data").mkdir()
    return run_story


def scanner_of(opened: Opened, folder: FolderOfLibrary) -> Scanner:
    parts = opened.libraries
    return Scanner(
        "photos", folder=folder, rows=parts.rows, previews=parts.previews, collections=opened.collections
    )


async def found(opened: Opened) -> list[str]:
    query = await opened.embedder.embed_image(picture("red"))
    return [hit.metadata["file"]["name"] for hit in await opened.search("photos", query, k=10)]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)


def test_file_over_the_limit_is_named_and_changes_nothing(run: Callable[[Story], None], root: Path) -> None:
    async def story(opened: Opened, scanner: Scanner) -> None:
        (root / "large.png").write_bytes(bytes(MAX_BYTES + 1))
        os.utime(root / "large.png", (1e9, 1e9))
        assert (await scanner.run()).is_empty
        assert scanner.problems == {"large.png": f"has {MAX_BYTES + 1} bytes, limit is {MAX_BYTES}"}
        (root / "red.png").unlink()
        assert (await scanner.run()).gone == [b"red.png"]

    run(story)


def test_rollout_embeds_pictures_from_their_place(run: Callable[[Story], None]) -> None:
    async def story(opened: Opened, scanner: Scanner) -> None:
        await opened.activate(TINY, 2)
        assert opened.pair("photos").model.version == 2
        assert len(await found(opened)) == 3
        assert opened.files() == []

    run(story)


@pytest.mark.parametrize("is_empty", [False, True])
def test_rollout_waits_for_a_folder_that_is_away(
    run: Callable[[Story], None],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    is_empty: bool,
) -> None:
    monkeypatch.setattr(reembed, "AWAY_S", 0.01)

    async def story(opened: Opened, scanner: Scanner) -> None:
        root.rename(root.parent / "unmounted")
        if is_empty:
            root.mkdir()  # the place where a disk is mounted
        rollout: Rollout = await opened.rollouts.activate(TINY, 2)
        await until(lambda: "images wait to be embedded" in caplog.text)
        assert not (await opened.rollouts.get(rollout.id)).has_ended
        assert len(await found(opened)) == 3  # by the former version
        (root.parent / "unmounted").rename(root)
        await opened.end_of(rollout)
        assert len(await found(opened)) == 3

    run(story)


def test_rollout_goes_on_once_a_scan_says_that_a_file_is_missing(
    run: Callable[[Story], None],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reembed, "AWAY_S", 0.01)

    async def story(opened: Opened, scanner: Scanner) -> None:
        (root / "red.png").unlink()
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(lambda: "images wait to be embedded" in caplog.text)
        await scanner.run()
        await opened.end_of(rollout)
        assert sorted(await found(opened)) == ["blue.png", "green.png"]

    run(story)


def test_rollout_that_waits_for_a_folder_goes_on_after_a_restart(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reembed, "AWAY_S", 0.01)
    for seed in range(2):
        write_tiny_bundle(tmp_path / "model_repo", seed=seed)
    (tmp_path / "data").mkdir()
    folder = FolderOfLibrary("photos", root, MAX_BYTES)

    def opening() -> Opened:
        return Opened(tmp_path / "model_repo", tmp_path / "data", 1, libraries={"photos": folder})

    async def whole() -> None:
        async with opening() as opened:
            await opened.collections.create("photos", "reference")
            await scanner_of(opened, folder).run()
            root.rename(root.parent / "unmounted")
            rollout = await opened.rollouts.activate(TINY, 2)
            await until(lambda: "images wait to be embedded" in caplog.text)
        caplog.clear()
        async with opening() as opened:
            await until(lambda: "images wait to be embedded" in caplog.text)
            assert not (await opened.rollouts.get(rollout.id)).has_ended
            assert len(await found(opened)) == 3  # by the former version
            (root.parent / "unmounted").rename(root)
            await opened.end_of(rollout)
            assert opened.pair("photos").model.version == 2
            assert len(await found(opened)) == 3

    asyncio.run(whole())


def test_rollout_does_not_wait_for_missing_files(
    run: Callable[[Story], None], root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(opened: Opened, scanner: Scanner) -> None:
        (root / "red.png").rename(root.parent / "red.png")
        await scanner.run()
        await opened.activate(TINY, 2)
        assert sorted(await found(opened)) == ["blue.png", "green.png"]
        assert "cannot be embedded" not in caplog.text  # it is known
        (root.parent / "red.png").rename(root / "red.png")
        await scanner.run()
        assert sorted(await found(opened)) == ["blue.png", "green.png", "red.png"]

    run(story)


def test_file_that_comes_back_during_a_rollout_is_in_the_new_version(
    run: Callable[[Story], None],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reembed, "AWAY_S", 0.01)

    async def story(opened: Opened, scanner: Scanner) -> None:
        (root / "red.png").rename(root.parent / "red.png")
        await scanner.run()
        root.rename(root.parent / "unmounted")
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(lambda: "images wait to be embedded" in caplog.text)
        (root.parent / "unmounted").rename(root)
        (root.parent / "red.png").rename(root / "red.png")
        await scanner.run()
        await opened.end_of(rollout)
        assert sorted(await found(opened)) == ["blue.png", "green.png", "red.png"]

    run(story)


def test_file_that_was_changed_since_the_scan_is_not_taken_for_the_picture(
    run: Callable[[Story], None], root: Path
) -> None:
    async def story(opened: Opened, scanner: Scanner) -> None:
        page, _ = await opened.collections.images.list("photos", None, 10)
        (red,) = [one for one in page if one.metadata["file"]["name"] == "red.png"]
        (root / "red.png").write_bytes(picture("blue"))
        with pytest.raises(Exception, match="is gone from library 'photos', or has changed"):
            await opened.collections.images.original("photos", red.id)

    run(story)
