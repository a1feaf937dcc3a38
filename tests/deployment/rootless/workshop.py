"""Where images are made and cleared away: what the commands of this folder have in common."""

import argparse
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from deployment.rootless.building import Buildah, Image, open_image

TERMINATED = 128 + signal.SIGTERM
MARK = ".diptych-rootless"  # lies in a folder that is ours to remove


def parser_of(command: str, description: str | None) -> argparse.ArgumentParser:
    """The flags that all commands have."""
    parser = argparse.ArgumentParser(prog=command, description=description)
    cache = Path(os.environ.get("DIPTYCH_CACHE") or Path.home() / ".cache" / "diptych")
    parser.add_argument(
        "--folder",
        type=Path,
        default=cache / "rootless",
        help="where images are made: one that is not there, is empty, or was made here; removed at the end",
    )
    parser.add_argument("--keep", action="store_true", help="keep what was made: the next run begins there")
    return parser


@contextmanager
def workshop(folder: Path, *, keep: bool) -> Iterator[Buildah]:
    """Builds lie in `folder`, which is removed at the end, or on Ctrl-C and SIGTERM, unless it is to be kept.

    SystemExit unless this is root, and for a folder that has something in it and is not of an earlier run, or
    is of one that still runs: nothing of it is touched then.
    """
    if os.geteuid() != 0:
        raise SystemExit(
            "needs root: it mounts images' roots, and gives its rights up to run what is in them"
        )
    signal.signal(signal.SIGTERM, _end)
    folder = folder.resolve()
    mark = _take(folder)
    try:
        yield Buildah(folder)
    finally:
        if not keep:
            # Not what may be mounted in it; and as root, a name that was a link is not followed.
            subprocess.run(["rm", "--recursive", "--force", "--one-file-system", folder], check=False)
        os.close(mark)


def _take(folder: Path) -> int:
    """Mark the folder as ours, and lock it; the file descriptor of the mark."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARK).is_file():
        raise SystemExit(
            f"--folder {folder} is not empty, and no earlier run made it: it would be removed. "
            "Name one that is not there, or is empty"
        )
    mark = os.open(folder / MARK, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"--folder {folder} is in use by another run") from None
    return mark


@contextmanager
def opened(buildah: Buildah, image: str) -> Iterator[Image]:
    """The image, with its files on the disk as long as this is entered."""
    container, found = open_image(buildah, image)
    try:
        yield found
    finally:
        buildah.run("rm", container)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
