"""Where images are made and cleared away: what the commands of this folder have in common."""

import argparse
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from deployment.rootless.building import Buildah, Image, open_image

TERMINATED = 128 + signal.SIGTERM


def parser_of(command: str, description: str | None) -> argparse.ArgumentParser:
    """The flags that all commands have."""
    parser = argparse.ArgumentParser(prog=command, description=description)
    cache = Path(os.environ.get("DIPTYCH_CACHE") or Path.home() / ".cache" / "diptych")
    parser.add_argument("--folder", type=Path, default=cache / "rootless", help="where images are kept")
    parser.add_argument("--keep", action="store_true", help="keep what was made: the next run begins there")
    return parser


@contextmanager
def workshop(folder: Path, *, keep: bool) -> Iterator[Buildah]:
    """Builds lie in `folder`, which is removed at the end, or on Ctrl-C and SIGTERM, unless it is to be kept.

    SystemExit unless this is root.
    """
    if os.geteuid() != 0:
        raise SystemExit(
            "needs root: it mounts images' roots, and gives its rights up to run what is in them"
        )
    signal.signal(signal.SIGTERM, _end)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield Buildah(folder)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


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
