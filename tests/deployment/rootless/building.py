"""Carry out a Dockerfile's steps with buildah: no engine, no registry of images, a base made by debootstrap.

Knows the machine's tools, and nothing of what the image is for.
"""

import json
import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployment.tools import ROOT, tool

SUITE = "trixie"  # of Debian, as of the image that docker/*.Dockerfile name: Python 3.13
INCLUDED = "ca-certificates,python3,python3-venv"  # what `python:...-slim` brings and Debian's base does not
BASE = "localhost/diptych-base:1"
SERVER = "localhost/diptych-server:cpu"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Buildah:
    """All that buildah keeps lies in `folder`. Layers are whole copies (vfs): nothing has to be mounted."""

    folder: Path

    def run(self, *arguments: str | Path) -> str:
        """What it prints, without the last line's end. CalledProcessError when it fails."""
        places = [
            "--root",
            self.folder / "storage",
            "--runroot",
            self.folder / "run",
            "--storage-driver",
            "vfs",
        ]
        environment = {**os.environ, "CONTAINERS_CONF": str(self._configuration())}
        done = subprocess.run(
            [tool("buildah"), *places, *arguments],
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        return done.stdout.decode().rstrip("\n")

    def has(self, image: str) -> bool:
        """Whether an image of this name is kept."""
        return image in self.run("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()

    def _configuration(self) -> Path:
        # Limits that this process has: raising them, as buildah does by itself, is not every root's to do.
        limits = [
            f'"{name}={soft}:{hard}"'
            for name, (soft, hard) in (
                ("nofile", resource.getrlimit(resource.RLIMIT_NOFILE)),
                ("nproc", resource.getrlimit(resource.RLIMIT_NPROC)),
            )
        ]
        file = self.folder / "containers.conf"
        file.write_text(f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n")
        return file


def make_base(buildah: Buildah) -> None:
    """Debian's own base system as an image, once: a minute and 250 MB."""
    if buildah.has(BASE):
        return
    rootfs = buildah.folder / "rootfs"
    shutil.rmtree(rootfs, ignore_errors=True)
    # It mounts /proc and leaves it behind when it fails: in a namespace of its own, that goes with it.
    subprocess.run(
        [
            tool("unshare"), "--mount", "--propagation", "private",
            tool("debootstrap"), "--variant=minbase", f"--include={INCLUDED}", SUITE, rootfs,
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    for useless in (
        "var/cache/apt/archives",
        "var/lib/apt/lists",
        "usr/share/doc",
        "usr/share/locale",
        "usr/share/man",
    ):
        for path in (rootfs / useless).glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    container = buildah.run("from", "scratch")
    buildah.run("add", "-q", container, rootfs, "/")
    buildah.run("commit", "-q", "--rm", container, BASE)
    shutil.rmtree(rootfs)


def build(buildah: Buildah, image: str, file: str, *further: str, base: str = BASE) -> None:
    """All steps of a Dockerfile on the base; `further` arguments say up to which target, and the like."""
    buildah.run(
        "build", "--isolation", "chroot", "--network", "host", "--format", "docker",
        # The steps trust whom this machine trusts: it may be behind a proxy with an authority of its own.
        "--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro",
        "--build-arg", f"BASE={base}", "--build-arg", f"REVISION={revision()}", *further,
        "-f", file, "-t", image, ROOT,
    )  # fmt: skip


def build_server(buildah: Buildah) -> None:
    """The cpu image, as SERVER."""
    build(buildah, SERVER, "docker/server.Dockerfile", "--target", "cpu")


def revision() -> str:
    """The commit that is checked out."""
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


@dataclass(frozen=True)
class Image:
    """What the image says of itself, and where its files lie."""

    root: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """Its variables."""
        return dict(line.split("=", 1) for line in self.config["Env"])

    @property
    def command(self) -> list[str]:
        """What runs when nothing else is asked for."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @property
    def stop_signal(self) -> str:
        """Its name; without one, an engine's own."""
        return str(self.config.get("StopSignal") or "SIGTERM")

    @property
    def user(self) -> tuple[int, int]:
        """The numbers of user and group."""
        uid, gid = self.config["User"].split(":")
        return int(uid), int(gid)


def open_image(buildah: Buildah, image: str) -> tuple[str, Image]:
    """A container of the image, to be removed by the caller, and its files as they lie on the disk."""
    found = json.loads(buildah.run("inspect", "--type", "image", image))
    container = buildah.run("from", "--pull-never", image)
    return container, Image(Path(buildah.run("mount", container)), found["Docker"]["config"])
