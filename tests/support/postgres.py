"""A private PostgreSQL server for tests, on a socket in a short path."""

import os
import shutil
import signal
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

    def __init__(
        self, programs: Path, folder: Path, settings: dict[str, str], *, primary: Path | None = None
    ) -> None:
        """`primary`: the folder of the running server whose standby this one is."""
        self._programs, self.folder, self._settings = programs, folder, settings
        self._numbers = count()
        folder.chmod(0o777)
        if primary is not None:
            self._run(
                "pg_basebackup", "-R", "-c", "fast", "-h", str(primary), "-U", SUPERUSER, "-D", self._data
            )
            return
        self._run(
            "initdb", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "-U", SUPERUSER, "-D", self._data
        )

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def pid(self) -> int:
        """The process whose children serve the connections."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def is_running(self) -> bool:
        """Whether the server was started, and not stopped since."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def start(self) -> None:
        """Start the server; return when it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._run(
            "pg_ctl", "start", "-w", "-D", self._data, "-l", str(self.folder / "log"),
            "-o", f"-k {self.folder} {options}",
        )  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; `immediate` is as a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self._data)

    def crash(self) -> None:
        """Stop the server as a crash does, and start it again."""
        self.stop("immediate")
        self.start()

    def kill_connection(self) -> None:
        """Kill the process of a connection of diptych, as Linux may when memory runs out.

        PostgreSQL then ends all other connections, and recovers.
        """
        ((pid,), *_) = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'diptych%' ORDER BY random()"
        )
        os.kill(pid, signal.SIGKILL)

    def promote(self) -> None:
        """Let a standby take over; return when it takes writes."""
        self._run("pg_ctl", "promote", "-w", "-D", self._data)

    def url(
        self, schema: str | None = None, database: str = "postgres", *, standby: "Cluster | None" = None
    ) -> str:
        """Make a schema of its own, which is as a database, and return its address: on this server, or on
        whichever of the two takes writes.
        """
        schema = schema or f"t{next(self._numbers)}"
        if database == "postgres":
            self.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        hosts = f"{self.folder}" if standby is None else f"{self.folder},{standby.folder}"
        writable = "" if standby is None else "&target_session_attrs=read-write"
        return f"postgresql://{SUPERUSER}@/{database}?host={hosts}{writable}&options=-csearch_path%3D{schema}"

    def copied(self, url: str) -> str:
        """Dump a schema, restore the dump into a database of its own, and return the new address."""
        schema, database = url.rpartition("%3D")[2], f"restored{next(self._numbers)}"
        connection = ("-h", str(self.folder), "-U", SUPERUSER)
        dump = str(self.folder / f"{database}.dump")
        self._run("pg_dump", *connection, "--format=custom", "-n", schema, "-f", dump, "postgres")
        self._run("createdb", *connection, "--encoding=UTF8", "--template=template0", database)
        self._run("pg_restore", *connection, "--exit-on-error", "-d", database, dump)
        return self.url(schema, database)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in a connection of its own; return its rows."""
        with psycopg.connect(f"postgresql://{SUPERUSER}@/postgres?host={self.folder}", autocommit=True) as db:
            found = db.execute(statement)
            return found.fetchall() if found.description else []

    def _run(self, program: str, *arguments: str) -> None:
        as_other = (
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        )
        command = [*as_other, str(self._programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
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
def cluster(*, is_durable: bool = False, primary: Cluster | None = None) -> Iterator[Cluster]:
    """Run a server, a standby of another one if that is given; skip the test where PostgreSQL is missing."""
    found = programs()
    if found is None:
        pytest.skip(f"needs the programs of PostgreSQL {OLDEST} or newer, such as Debian's postgresql-17")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    try:
        settings = _SETTINGS if is_durable else _SETTINGS | _NOT_DURABLE
        one = Cluster(found, folder, settings, primary=primary and primary.folder)
        one.start()
        try:
            yield one
        finally:
            if one.is_running:
                one.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
