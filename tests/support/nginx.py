"""Run nginx with the committed configuration in front of servers, in a folder of its own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.callers import wait_until

CONFIG = Path(__file__).parents[2] / "docker" / "nginx.conf"
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


@contextmanager
def nginx(folder: Path, *servers: str, changes: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run nginx before `servers`, each as `HOST:PORT`, and return the address of nginx, `HOST:PORT` too.

    Several servers are balanced as docs/postgresql.md says. `changes`: lines of the configuration, old and
    new.
    """
    address = f"127.0.0.1:{free_port()}"
    config = _config(folder, address, servers, changes or {})
    subprocess.run([*_command(folder, config), "-t"], check=True)
    process = subprocess.Popen(_command(folder, config))
    try:
        wait_until(lambda: _listens(address))
        yield address
    finally:
        process.terminate()
        process.wait()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this host that no process listens on."""
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as caller:
        return caller.connect_ex((host, int(port))) == 0


def _config(folder: Path, address: str, servers: tuple[str, ...], changes: Mapping[str, str]) -> Path:
    text = CONFIG.read_text()
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {folder}/{name};\n" for name in names)
    upstream = "least_conn; " * (len(servers) > 1) + " ".join(f"server {one};" for one in servers)
    own = {
        "server 127.0.0.1:8000;": upstream,
        "listen 80;": f"listen {address};",
        "http {": f"http {{\n{places}access_log {folder}/access.log;\n",
    }
    for old, new in {**own, **changes}.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    config = folder / "nginx.conf"
    config.write_text(text)
    return config


def _command(folder: Path, config: Path) -> list[str]:
    user = "user root; " if os.geteuid() == 0 else ""  # the folders of tests are their user's
    rules = f"{user}daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;"
    return ["nginx", "-p", str(folder), "-c", str(config), "-g", rules]
