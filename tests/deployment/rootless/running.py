"""Run an image's command in its own root, not as root, as process 1; end it as an engine does. Linux only.

Knows nothing of what the command does.
"""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

from deployment.rootless.building import Image
from deployment.tools import tool

WITHIN_S = 60
DEVICES = ("null", "zero", "full", "random", "urandom")


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine, or memory, at a place that the image has."""

    target: str
    options: str = ""  # of memory
    source: Path | None = None  # None: memory
    read_only: bool = False


@dataclass(frozen=True)
class Terms:
    """On which a process runs and ends. By themselves, what docker/README.md tells to run an image with."""

    read_only: bool = True  # the root
    no_capabilities: bool = True
    no_new_privileges: bool = True
    stop_signal: str = ""  # empty: the image's
    stop_grace_s: float = 50  # then it is killed


TMP = Mount("/tmp", "size=256m,mode=1777")


@dataclass(frozen=True)
class Contained:
    """A process inside, seen from outside: `pid` is its number here; inside it is 1."""

    outer: "subprocess.Popen[bytes]"
    pid: int
    log_file: Path
    terms: Terms  # with a signal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        """Whatever it still does, it does no longer: what runs inside goes with its namespace."""
        self.outer.kill()
        self.outer.wait(timeout=WITHIN_S)

    def said(self) -> str:
        """Its log so far."""
        return self.log_file.read_text()

    def stop(self) -> int:
        """What an engine does: the signal, and SIGKILL after the grace; the status that it ends with."""
        if self.outer.poll() is None:
            os.kill(self.pid, signal.Signals[self.terms.stop_signal])
        try:
            return self.outer.wait(timeout=self.terms.stop_grace_s)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            return self.outer.wait(timeout=WITHIN_S)


def start(
    image: Image,
    mounts: Sequence[Mount],
    log_file: Path,
    variables: Mapping[str, str] = MappingProxyType({}),
    command: Sequence[str] = (),
    terms: Terms = Terms(),
) -> Contained:
    """The image's command, or another one, as the image's user. What it says is the log, anew."""
    terms = replace(terms, stop_signal=terms.stop_signal or image.stop_signal)
    inside = [*confined(image, {**image.environment, **variables}, terms), *(command or image.command)]
    with log_file.open("wb") as log:
        outer = subprocess.Popen(
            [
                tool("unshare"), "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                "sh", "-c", f'{_mounting(image.root, mounts, terms)}\nexec "$@"', "sh", *inside,
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    return Contained(outer, _child_of(outer), log_file, terms)


def _mounting(root: Path, mounts: Sequence[Mount], terms: Terms) -> str:
    """A script: the root, what is mounted on it, and a few devices.

    It runs in a mount namespace of its own: whatever it mounts goes with the process.
    """
    device = Mount("/dev", "size=1m,mode=755")
    steps = [
        ["mount", "--bind", root, root],
        *([["mount", "-o", "remount,bind,ro", root]] if terms.read_only else []),
        ["mount", "-t", "proc", "-o", "ro,nosuid,nodev,noexec", "proc", f"{root}/proc"],
        *_mount(root, device),
        *(["touch", f"{root}/dev/{name}"] for name in DEVICES),
        *(["mount", "--bind", f"/dev/{name}", f"{root}/dev/{name}"] for name in DEVICES),
        ["mkdir", "-m", "1777", f"{root}/dev/shm"],
        *(step for mount in mounts for step in _mount(root, mount)),
    ]
    return "\n".join(["set -eu", *(shlex.join(str(word) for word in step) for step in steps)])


def _mount(root: Path, mount: Mount) -> list[list[str | Path]]:
    target = f"{root}{mount.target}"
    if mount.source is None:
        return [["mount", "-t", "tmpfs", "-o", f"{mount.options},nosuid,nodev", "tmpfs", target]]
    bound: list[list[str | Path]] = [["mount", "--bind", mount.source, target]]
    return [*bound, ["mount", "-o", "remount,bind,ro", target]] if mount.read_only else bound


def confined(image: Image, environment: dict[str, str], terms: Terms) -> list[str]:
    """A command line that runs what follows in the root as the image's user, with these variables alone."""
    uid, gid = image.user
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [
        tool("chroot"), str(image.root),
        "/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups",
        *(["--no-new-privs"] if terms.no_new_privileges else []),
        *(["--bounding-set=-all", "--inh-caps=-all"] if terms.no_capabilities else []),
        "/usr/bin/env", "--ignore-environment", "--chdir", image.config["WorkingDir"], *variables,
    ]  # fmt: skip


def enter(
    image: Image, beside: Contained, variables: dict[str, str], command: Sequence[str]
) -> "subprocess.CompletedProcess[str]":
    """Another command beside a running one, in the same root: what `docker exec` and health checks do."""
    return subprocess.run(
        [
            tool("nsenter"), f"--target={beside.pid}", "--mount", "--pid",
            *confined(image, {**image.environment, **variables}, beside.terms), *command,
        ],
        capture_output=True, text=True, check=False, timeout=WITHIN_S,
    )  # fmt: skip


def health_check_of(image: Image) -> list[str]:
    """The command of the image's HEALTHCHECK."""
    kind, *words = image.config["Healthcheck"]["Test"]
    return words if kind == "CMD" else ["/bin/sh", "-c", shlex.join(words)]


def _child_of(outer: "subprocess.Popen[bytes]") -> int:
    file = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + WITHIN_S
    while not (children := file.read_text().split()):
        assert outer.poll() is None, "the process inside did not start"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(children[0])
