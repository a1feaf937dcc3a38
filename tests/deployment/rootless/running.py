"""Run an image's command in its own root: read-only, not as root, without rights, as process 1. Linux only.

Knows nothing of what the command does.
"""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployment.rootless.building import Image
from deployment.tools import tool

WITHIN_S = 60
# In a mount namespace of its own: whatever is mounted here goes with the process.
INSIDE = """
set -eu
root=$1 data=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o size=256m,mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount --bind "$data" "$root/srv/data"
mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o size=1m,mode=755 tmpfs "$root/dev"
for name in null zero full random urandom; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir -m 1777 "$root/dev/shm"
exec "$@"
"""


@dataclass(frozen=True)
class Contained:
    """A process inside, seen from outside: `pid` is its number here; inside it is 1."""

    outer: "subprocess.Popen[bytes]"
    pid: int
    log_file: Path

    def stop(self) -> int:
        """SIGTERM to the process inside, as an engine sends it; the status that it ends with."""
        os.kill(self.pid, signal.SIGTERM)
        return self.outer.wait(timeout=WITHIN_S)


def start(
    image: Image, data: Path, log_file: Path, variables: dict[str, str], command: Sequence[str] = ()
) -> Contained:
    """The image's command, or another one, as the image's user. `data` becomes `/srv/data`."""
    inside = [*confined(image, {**image.environment, **variables}), *(command or image.command)]
    with log_file.open("wb") as log:
        outer = subprocess.Popen(
            [
                tool("unshare"), "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                "sh", "-c", INSIDE, "sh", image.root, data, *inside,
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    return Contained(outer, _child_of(outer), log_file)


def confined(image: Image, environment: dict[str, str]) -> list[str]:
    """A command line that runs what follows in the root, with these variables alone and without rights."""
    uid, gid = image.user
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [
        tool("chroot"), str(image.root),
        "/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs",
        "--bounding-set=-all", "--inh-caps=-all",
        "/usr/bin/env", "--ignore-environment", "--chdir", image.config["WorkingDir"], *variables,
    ]  # fmt: skip


def enter(
    image: Image, beside: Contained, variables: dict[str, str], command: Sequence[str]
) -> "subprocess.CompletedProcess[str]":
    """Another command beside a running one, in the same root: what `docker exec` and health checks do."""
    return subprocess.run(
        [
            tool("nsenter"), f"--target={beside.pid}", "--mount", "--pid",
            *confined(image, {**image.environment, **variables}), *command,
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
