"""Keep what was built for one model on one GPU, whole or not at all. Knows nothing of building."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.bundle.durable import fsync_file, fsync_folder, write_durably
from diptych.errors import ConfigError

RECORD_FILE = "built.json"  # what was built, from what; written last
LOCK_FILE = "lock"
DRAFT = ".tmp-"
TIMINGS = "*.timing"  # of kernels: another version of a model has many of the same

Recipe = Mapping[str, Any]  # JSON of all that decides what is built


class EngineFolder:
    """`<cache>/<identity>/<gpu>-<tensorrt>/`. One process at a time builds; raises ConfigError on a bad disk.

    It is written beside and renamed: a build that is killed leaves a draft, which nobody reads, and which the
    next one that builds removes.
    """

    def __init__(self, cache_dir: Path, identity: str, gpu: str, tensorrt: str) -> None:
        self._cache_dir = cache_dir
        self._parent = cache_dir / identity
        self.path = self._parent / f"{_slug(gpu)}-{tensorrt}"
        self._lock: int | None = None

    def try_lock(self) -> bool:
        """Whether this process may build now: no other one does. Holds until `unlock` or its end."""
        try:
            self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._parent / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def unlock(self) -> None:
        """Let another process build."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def holds(self, recipe: Recipe) -> bool:
        """Whether it has just what this recipe makes, every byte as it was built."""
        try:
            record = json.loads((self.path / RECORD_FILE).read_bytes())
            files = record["files"]
            return bool(
                record["recipe"] == recipe
                and files
                and all(_sha256(self.path / name) == digest for name, digest in files.items())
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def draft(self) -> Path:
        """An empty folder to build into, but for timings of earlier builds. Under the lock alone."""
        try:
            for left in self._parent.glob(f"{DRAFT}*"):
                shutil.rmtree(left)
            folder = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self._parent))
            for file in self._timings():
                shutil.copyfile(file, folder / file.name)
        except OSError as error:
            raise self._unusable(error) from error
        return folder

    def publish(self, draft: Path, recipe: Recipe) -> None:
        """From now on it holds what was built into the draft."""
        try:
            files = sorted(file for file in draft.iterdir() if file.is_file())
            for file in files:
                fsync_file(file)
            digests = {file.name: _sha256(file) for file in files if not file.match(TIMINGS)}
            record = {"recipe": recipe, "files": digests}
            write_durably(draft / RECORD_FILE, json.dumps(record, indent=1).encode())
            fsync_folder(draft)
            self.discard()
            draft.rename(self.path)
            fsync_folder(self._parent)
        except OSError as error:
            raise self._unusable(error) from error

    def discard(self) -> None:
        """It holds nothing any more."""
        try:
            if self.path.exists():
                gone = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self._parent))
                self.path.rename(gone / "old")
                shutil.rmtree(gone)
        except OSError as error:
            raise self._unusable(error) from error

    def _timings(self) -> list[Path]:
        """The newest of each name that was measured on such a GPU with this TensorRT."""
        found = self._cache_dir.glob(f"*/{self.path.name}/{TIMINGS}")
        newest = {file.name: file for file in sorted(found, key=lambda file: file.stat().st_mtime)}
        return list(newest.values())

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(f"the folder of engines {self._parent} cannot be used: {error.strerror}")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _slug(gpu: str) -> str:
    """A name of a folder: NVIDIA H100 80GB HBM3 -> nvidia-h100-80gb-hbm3"""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") or "gpu"
