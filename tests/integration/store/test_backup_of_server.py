"""Backups of a real server that a client keeps busy: restored and served, they show one moment of it."""

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.sqlite.store import SqliteStore
from diptych.cli import main
from diptych.core.collections.stored.ids import sha256_of
from diptych.errors import StoreError
from diptych.settings import Settings
from diptych.wiring.services import build
from diptych_client import Client
from integration.data_folders import add, change, number_of
from integration.store_parts import tiny_png
from support.callers import wait_until
from support.server import serve
from support.tiny_bundle import TINY

SHELF = "default"
N_IDS = 10
N_CHANGES = 10  # of each client before each backup
Change = tuple[str, int | None]  # an id, and the number of its new picture, or None when it is deleted


def diptych(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


class Busy(threading.Thread):
    """Adds, replaces and deletes at random, one after the other, until it is told to stop."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self._client, self._random, self._seed = Client(url), random.Random(seed), seed
        self.begun: list[Change] = []
        self.n_acknowledged = 0
        self.stopped, self.error = threading.Event(), None

    def run(self) -> None:
        try:
            with self._client:
                while not self.stopped.is_set():
                    self._change()
                    self.n_acknowledged += 1
        except BaseException as error:  # looked at by the test
            self.error = error

    def owns(self, id: str) -> bool:
        return id.startswith(f"{self._seed}-")

    def state_after(self, n_changes: int) -> dict[str, int]:
        """What there is after so many changes: the number of the picture of each id."""
        return {id: number for id, number in dict(self.begun[:n_changes]).items() if number is not None}

    def _change(self) -> None:
        id = f"{self._seed}-{self._random.randrange(N_IDS)}"
        if id in self.state_after(len(self.begun)) and self._random.random() < 0.4:
            self.begun.append((id, None))
            self._client.delete_image(SHELF, id)
            return
        number = self._random.randrange(1_000_000)
        self.begun.append((id, number))
        (outcome,) = self._client.add(
            [tiny_png(number)], ids=[id], metadata=[{"n": number}], collection=SHELF, replace=True
        )
        assert outcome.status != "failed", outcome.error


def served(url: str) -> dict[str, int]:
    """Every image's number, which its bytes, its metadata and its vector agree upon."""
    found: dict[str, int] = {}
    with Client(url) as client:
        for record in client.list_images(SHELF, limit=1000).images:
            number = found[record.id] = record.metadata["n"]
            assert client.original(SHELF, record.id) == tiny_png(number)
            hits = client.search(image=tiny_png(number), collection=SHELF, k=5).hits
            assert {hit.id: hit.cosine for hit in hits}[record.id] == pytest.approx(1, abs=1e-5)
    return found


def stored(data_dir: Path) -> dict[str, int]:
    """The same of a folder that nobody serves, its vectors left out."""
    found: dict[str, int] = {}

    async def work(store: SqliteStore, files: ImageFiles) -> None:
        for record in await store.rows.page(await number_of(store, SHELF), None, 1000):
            number = found[record.id] = record.metadata["n"]
            assert await files.get(record.sha256) == tiny_png(number)

    change(data_dir, work)
    return found


@pytest.mark.parametrize("n_rounds", [1, pytest.param(20, marks=pytest.mark.long)])
def test_backups_beside_a_busy_server_show_one_moment_after_what_was_acknowledged(
    model_repo: Path, tmp_path: Path, n_rounds: int
) -> None:
    target = tmp_path / "backup"
    with serve(model_repo, TINY, tmp_path / "data") as server:
        clients = [Busy(server.url, seed) for seed in range(2)]
        for client in clients:
            client.start()
        try:
            for number in range(n_rounds):
                wait_until(lambda n=number: any_failed(clients) or all_did(clients, N_CHANGES * (n + 1)))
                before = [client.n_acknowledged for client in clients]
                done = diptych("backup", target, "--data-dir", tmp_path / "data", "--json")
                after = [len(client.begun) for client in clients]
                assert done.returncode == 0, done.stderr
                assert json.loads(done.stdout)["lost"] == {}
                restored = tmp_path / f"restored-{number}"
                assert main(["restore", str(target), "--data-dir", str(restored)]) == 0
                found = stored(restored)
                for client, n_first, n_last in zip(clients, before, after, strict=True):
                    own = {id: number for id, number in found.items() if client.owns(id)}
                    assert own in [client.state_after(n) for n in range(n_first, n_last + 1)]
        finally:
            for client in clients:
                client.stopped.set()
            for client in clients:
                client.join()
        assert [client.error for client in clients] == [None, None]
    with serve(model_repo, TINY, restored) as server:
        assert served(server.url) == found


def any_failed(clients: list[Busy]) -> bool:
    return any(client.error is not None for client in clients)


def all_did(clients: list[Busy], n_changes: int) -> bool:
    return all(client.n_acknowledged >= n_changes for client in clients)


def test_commands_say_what_they_made_checked_and_restored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tmp_path / "data", {"cat": b"cat", "dog": b"a dog", "again": b"cat"})
    backup, restored = str(tmp_path / "backup"), str(tmp_path / "restored")
    for command, said in (
        (["backup", backup, "--data-dir", str(tmp_path / "data")], f"{backup}: complete"),
        (["backup", "--verify", backup], f"{backup}: sound"),
        (["restore", backup, "--data-dir", restored], f"{restored}: restored"),
    ):
        assert main(command) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith(f"{said}, 3 images in 1 collections, 2 files of 8 bytes, as of 20")
        assert printed.err == ""
    (tmp_path / "data" / "images" / sha256_of(b"cat")[:2] / sha256_of(b"cat")).unlink()
    assert main(["backup", str(tmp_path / "second"), "--data-dir", str(tmp_path / "data")]) == 1
    cat = sha256_of(b"cat")
    named = f"pets/again: {cat} is missing\npets/cat: {cat} is missing\n"
    lost = f"images without their file: 2 (add them again with `diptych add --send-all`)\n{named}"
    second, lossy = str(tmp_path / "second"), str(tmp_path / "lossy")
    assert capsys.readouterr().err == lost
    for command, said in (
        (["backup", second, "--data-dir", str(tmp_path / "data")], f"{second}: incomplete"),
        (["backup", "--verify", second], f"{second}: incomplete"),
        (["restore", second, "--data-dir", lossy], f"{lossy}: restored, incomplete"),
    ):
        assert main(command) == 1
        printed = capsys.readouterr()
        assert printed.out.startswith(f"{said}, 3 images in 1 collections, 1 of 2 files, as of 20")
        assert printed.err == lost


def test_unfinished_restore_is_not_served_and_nothing_is_made_of_it(model_repo: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".tmp-restore").write_bytes(b"")
    settings = Settings(model_repo=model_repo, model=TINY, data_dir=tmp_path / "data")
    with pytest.raises(StoreError, match="holds an unfinished restore: repeat `diptych restore`"):
        build(settings)
    assert not (tmp_path / "data" / "diptych.sqlite3").exists()
