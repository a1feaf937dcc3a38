"""`make image-rootless`: carry out the cpu image's steps without Docker, and look at the server in it.

Needs root, buildah, debootstrap and Debian's archive; no engine and no registry of images. The server runs in
the image's root, read-only, as the image's user, as process 1 and without any capability.
"""

import argparse
import json
import os
import resource
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych_client import Client

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "server" / "gallery"
SUITE = "trixie"  # of Debian, as of the base that docker/*.Dockerfile name: Python 3.13
INCLUDED = "ca-certificates,python3,python3-venv"  # what `python:...-slim` brings and Debian's base does not
BASE, IMAGE = "localhost/diptych-base:1", "localhost/diptych-server:cpu"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
DEVICES = ("null", "zero", "full", "random", "urandom")
PORT, WITHIN_S = 8765, 120
STOP_WITHIN_S = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="make image-rootless", description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep image and base there for the next time (1.5 GB)")
    folder: Path | None = parser.parse_args().folder
    if os.geteuid() != 0:
        sys.exit("needs root: it mounts the image's root, and gives its rights up to run what is in it")
    with tempfile.TemporaryDirectory(prefix="diptych-rootless-") as scratch:
        buildah = Buildah(folder or Path(scratch, "images"))
        make_base(buildah)
        buildah.build()
        with buildah.opened() as image:
            look_at(image, Path(scratch))
    print("the image's steps came to their end, and all that was looked at holds")
    return 0


@dataclass(frozen=True)
class Image:
    """What the image says of itself, and where its files lie."""

    root: Path
    config: dict[str, Any]


@dataclass(frozen=True)
class Buildah:
    """All that buildah keeps lies in `folder`. Layers are whole copies (vfs): nothing has to be mounted."""

    folder: Path

    def run(self, *arguments: str | Path) -> str:
        """What it prints, without the last line's end. CalledProcessError when it fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        places = [
            "--root",
            self.folder / "storage",
            "--runroot",
            self.folder / "run",
            "--storage-driver",
            "vfs",
        ]
        # Limits that this process has: raising them, as buildah does by itself, is not every root's to do.
        kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        limits = {name: "{}:{}".format(*resource.getrlimit(kind)) for name, kind in kinds.items()}
        quoted = ", ".join(f'"{name}={limit}"' for name, limit in limits.items())
        file = self.folder / "containers.conf"
        file.write_text(f"[containers]\ndefault_ulimits = [{quoted}]\n")
        command = ["buildah", *places, *arguments]
        environment = {**os.environ, "CONTAINERS_CONF": str(file)}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
        return done.stdout.decode().rstrip("\n")

    def build(self) -> None:
        """All steps of the Dockerfile up to the target `cpu`."""
        self.run(
            "build", "--isolation", "chroot", "--network", "host", "--format", "docker", "--target", "cpu",
            # The steps trust whom this machine trusts: it may be behind a proxy with an authority of its own.
            "--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro", "--build-arg", f"BASE={BASE}",
            "-f", "docker/server.Dockerfile", "-t", IMAGE, ROOT,
        )  # fmt: skip

    @contextmanager
    def opened(self) -> Iterator[Image]:
        """The image with its files on the disk."""
        config = json.loads(self.run("inspect", "--type", "image", IMAGE))["Docker"]["config"]
        container = self.run("from", "--pull-never", IMAGE)
        try:
            yield Image(Path(self.run("mount", container)), config)
        finally:
            self.run("rm", container)


def make_base(buildah: Buildah) -> None:
    """Debian's own base system as an image, once: a minute and 250 MB."""
    if BASE in buildah.run("images", "--format", "{{.Name}}:{{.Tag}}").splitlines():
        return
    rootfs = buildah.folder / "rootfs"
    shutil.rmtree(rootfs, ignore_errors=True)
    # It mounts /proc and leaves it behind when it fails: in a namespace of its own, that goes with it.
    apart = ["unshare", "--mount", "--propagation", "private"]
    command = [*apart, "debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, rootfs]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    container = buildah.run("from", "scratch")
    buildah.run("add", "-q", container, rootfs, "/")
    buildah.run("commit", "-q", "--rm", container, BASE)
    shutil.rmtree(rootfs)


class Server:
    """The image's command as process 1 of its own root; `/srv/data` is `data`, `/tmp` is memory."""

    def __init__(self, image: Image, data: Path, log: Path, variables: dict[str, str]) -> None:
        self._image, self._variables, self.log = image, variables, log
        steps = [
            ["mount", "--bind", image.root, image.root],
            ["mount", "-o", "remount,bind,ro", image.root],
            ["mount", "-t", "proc", "-o", "ro,nosuid,nodev,noexec", "proc", f"{image.root}/proc"],
            ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755,nosuid", "tmpfs", f"{image.root}/dev"],
            *(["touch", f"{image.root}/dev/{name}"] for name in DEVICES),
            *(["mount", "--bind", f"/dev/{name}", f"{image.root}/dev/{name}"] for name in DEVICES),
            ["mkdir", "-m", "1777", f"{image.root}/dev/shm"],
            ["mount", "-t", "tmpfs", "-o", "size=256m,mode=1777,nosuid,nodev", "tmpfs", f"{image.root}/tmp"],
            ["mount", "--bind", data, f"{image.root}/srv/data"],
        ]
        script = "\n".join(["set -eu", *(shlex.join(map(str, step)) for step in steps), 'exec "$@"'])
        apart = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        command = [*apart, "sh", "-c", script, "sh", *self._confined()]
        command += [*image.config["Entrypoint"], *image.config["Cmd"]]
        with log.open("wb") as out:
            self.outer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    @property
    def pid(self) -> int:
        """Its number here; inside it is 1."""
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        until(lambda: bool(children.read_text().split()), "the process inside did not start")
        return int(children.read_text().split()[0])

    def enter(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Another command in the same root: what `docker exec` and health checks do."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", *self._confined(), *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=WITHIN_S)

    def is_healthy(self) -> bool:
        """By the image's own HEALTHCHECK."""
        _, *words = self._image.config["Healthcheck"]["Test"]
        return self.enter(*words).returncode == 0

    def stop(self) -> int:
        """The image's signal; the status that it ends with."""
        os.kill(self.pid, signal.Signals[self._image.config["StopSignal"]])
        return self.outer.wait(timeout=STOP_WITHIN_S)

    def _confined(self) -> Sequence[str]:
        uid, gid = self._image.config["User"].split(":")
        variables = [
            *self._image.config["Env"],
            *(f"{key}={value}" for key, value in self._variables.items()),
        ]
        return [
            "/usr/sbin/chroot", str(self._image.root), "/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}",
            "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
            "/usr/bin/env", "--ignore-environment", "--chdir", self._image.config["WorkingDir"], *variables,
        ]  # fmt: skip


def look_at(image: Image, scratch: Path) -> None:
    """Refused without a key; started, used and stopped; started again on its data."""
    data, key = scratch / "data", secrets.token_hex(16)
    data.mkdir()
    os.chown(data, *map(int, image.config["User"].split(":")))
    refused = Server(image, data, scratch / "refused.log", {"DIPTYCH_PORT": str(PORT)})
    assert refused.outer.wait(timeout=WITHIN_S) != 0
    assert "DIPTYCH_API_KEY" in refused.log.read_text(), refused.log.read_text()
    said("without a key it refuses to listen")
    variables = {"DIPTYCH_API_KEY": key, "DIPTYCH_PORT": str(PORT)}
    for start in ("first", "second"):
        server = Server(image, data, scratch / f"{start}.log", variables)
        try:
            until(server.is_healthy, f"it is not healthy: {server.log.read_text()[-2000:]}")
            said(f"{start} start: the image's health check passes")
            with Client(f"http://127.0.0.1:{PORT}", api_key=key) as client:
                if start == "first":
                    check_confined(server)
                    client.create_collection("pets")
                    files = [GALLERY / f"{name}.png" for name in ("cat", "guitar", "lemon", "rocket")]
                    outcomes = list(client.add(files, ids=[file.stem for file in files], collection="pets"))
                    assert {outcome.status for outcome in outcomes} == {"created"}, outcomes
                    best = client.classify([GALLERY / "cat.png"], ["rocket", "cat", "pizza"]).data[0]
                    assert best.predictions[0].label == "cat", best
                hits = client.search("guitar", collection="pets", k=1).hits
                assert [hit.id for hit in hits] == ["guitar"], hits
            said(f"{start} start: what was added is found")
            assert server.stop() == 0, server.log.read_text()[-2000:]
            said(f"{start} start: {image.config['StopSignal']} ends it with 0")
        finally:
            server.outer.kill()
            server.outer.wait()


def check_confined(server: Server) -> None:
    """It is process 1, the image's user, has no capability, and cannot write its root."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert status["NSpid"][-1] == "1", status["NSpid"]
    assert status["Uid"] == ["10001"] * 4, status["Uid"]
    assert status["NoNewPrivs"] == ["1"]
    assert {int(status[f"Cap{kind}"][0], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    for place in ("/srv/model_repo", "/opt/diptych", "/etc"):
        assert "Read-only" in server.enter("/bin/sh", "-c", f": > {place}/x").stderr, f"{place} was written"
    said("it runs as process 1, as the image's user, without rights, in a root that it cannot write")


def until(holds: Any, otherwise: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def said(sentence: str) -> None:
    print(f"yes  {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
