"""A private PostgreSQL server for tests, on a socket in a short path."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

OLDEST = 16
SUPERUSER = "diptych"
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "jit": "off",
    "autovacuum": "off",
    "log_min_messages": "warning",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "off"}


class Cluster:
    """A server with its data folder and socket."""

    def __init__(self, programs: Path, folder: Path, settings: dict[str, str]) -> None:
        self._programs, self._folder, self._settings = programs, folder, settings
        self._numbers = count()
        folder.chmod(0o777)
        self._run(
            "initdb", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "-U", SUPERUSER, "-D", self._data
        )

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    @property
    def pid(self) -> int:
        """The process whose children serve the connections."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start the server; return when it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._run(
            "pg_ctl", "start", "-w", "-D", self._data, "-l", str(self._folder / "log"),
            "-o", f"-k {self._folder} {options}",
        )  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; `immediate` is as a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self._data)

    def url(self, schema: str | None = None) -> str:
        """Make a schema of its own, which is as a database, and return its address."""
        schema = schema or f"t{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        return f"postgresql://{SUPERUSER}@/postgres?host={self._folder}&options=-csearch_path%3D{schema}"

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in a connection of its own; return its rows."""
        with psycopg.connect(
            f"postgresql://{SUPERUSER}@/postgres?host={self._folder}", autocommit=True
        ) as db:
            found = db.execute(statement)
            return found.fetchall() if found.description else []

    def _run(self, program: str, *arguments: str) -> None:
        as_other = (
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        )
        command = [*as_other, str(self._programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def programs() -> Path | None:
    """The folder of the newest installed server's programs; None if there is none that is new enough."""
    found = [
        (int(folder.parent.name), folder)
        for folder in Path("/usr/lib/postgresql").glob("*/bin")
        if folder.parent.name.isdigit() and (folder / "initdb").exists()
    ]
    found += [(OLDEST, Path(one).parent) for one in [shutil.which("initdb")] if one and not found]
    return max((one for one in found if one[0] >= OLDEST), default=(0, None))[1]


@contextmanager
def cluster(*, is_durable: bool = False) -> Iterator[Cluster]:
    """Run a server; skip the test where PostgreSQL is not installed."""
    found = programs()
    if found is None:
        pytest.skip(f"needs the programs of PostgreSQL {OLDEST} or newer, such as Debian's postgresql-17")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    try:
        one = Cluster(found, folder, _SETTINGS if is_durable else _SETTINGS | _NOT_DURABLE)
        one.start()
        try:
            yield one
        finally:
            one.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
