"""Whole bundles under the sha256 of their manifests: in the data folder, and in its backups."""

import fcntl
import filecmp
import hashlib
import shutil
import uuid
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from diptych.adapters.files.atomic_files import TMP_PREFIX, size_of
from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.private_files import make_new
from diptych.adapters.files.quota import Quota
from diptych.bundle.calibration import SUFFIX, calibration_file, read_calibration
from diptych.bundle.checksums import check_sizes
from diptych.bundle.manifest import MANIFEST_FILE, Manifest, parse_manifest, read_manifest
from diptych.durable import fsync_file, fsync_folder
from diptych.errors import BundleError, CorruptBundle, StoreFull
from diptych.failpoints import around

FOLDER = "models"  # in a data folder and in a backup
N_DIGITS = 16  # of the sha256 of a manifest, in the name of a folder
COPY_BYTES = 1 << 24
FICLONE = 0x40049409  # ioctl of Linux: share the blocks of another file until one of the two is written


class KeptBundles:
    """`<root>/<first 16 digits of the sha256 of the manifest>/`, each a complete bundle.

    The calibration of a bundle is next to its folder, as in a model repository. Each of the two appears and
    disappears by one rename. The files are copies, so that damage of the source does not
    reach them; they share blocks with the source where the file system can do that. Copies count against the
    quota. One process writes. Raises OSError.
    """

    def __init__(self, root: Path, quota: Quota | None = None) -> None:
        """The folder need not exist. Raises StoreError if the quota is set and files cannot be counted."""
        self._root = root
        self._quota = quota or Quota()
        self._counted: dict[Path, int] = {}  # bytes of copies, by the folder of a bundle or the calibration
        if self._quota.is_set and root.is_dir():
            with file_errors_translated("the copies of models"):
                for entry in root.iterdir():
                    self._count(entry)

    def folder(self, bundle: str) -> Path | None:
        """The folder of a bundle; None unless it is there with all its files."""
        folder = self._root / bundle[:N_DIGITS]
        found = _read(folder)
        return folder if found is not None and found[0] == bundle else None

    def calibration(self, bundle: str) -> Path:
        """The file of the calibration of a bundle; it need not exist."""
        return calibration_file(self._root / bundle[:N_DIGITS])

    def n_bytes(self, bundle: str) -> int:
        """The size of a bundle and its calibration on the disk."""
        files = [file for file in (self.calibration(bundle),) if file.is_file()]
        return _own_bytes([*(self._root / bundle[:N_DIGITS]).iterdir(), *files])

    def bundles(self) -> list[str]:
        """The sha256 of the manifests of all complete bundles."""
        if not self._root.is_dir():
            return []
        found = [_read(folder) for folder in sorted(self._root.iterdir()) if not _is_unfinished(folder)]
        return [one[0] for one in found if one is not None]

    def add(self, bundle: str, source: Path) -> None:
        """Keep a copy of the bundle in the folder `source`, with its calibration if it has one.

        Raises BundleError if the source is not that bundle, or not complete; StoreFull beyond the quota.
        """
        digest, manifest = _require(source)
        if digest != bundle:
            raise CorruptBundle(f"{source}: its {MANIFEST_FILE} has changed")
        self._root.mkdir(mode=0o700, exist_ok=True)
        self._require_space(manifest)
        staged = self._root / f"{TMP_PREFIX}{uuid.uuid4().hex}"
        staged.mkdir(mode=0o700)
        try:
            for name in (*manifest.files, MANIFEST_FILE):
                self._copy(source / name, staged / name, counted_for=staged)
            _require(staged, bundle)
            fsync_folder(staged)
            folder = self._root / bundle[:N_DIGITS]
            self._remove(folder)  # a damaged one
            with around("bundle_rename"):
                staged.rename(folder)
            self._counted[folder] = self._counted.pop(staged, 0)
            fsync_folder(self._root)
            fsync_folder(self._root.parent)
        except BaseException:
            self._remove(staged)
            raise
        self.add_calibration(bundle, calibration_file(source))

    def add_calibration(self, bundle: str, given: Path) -> None:
        """Keep a copy of the file `given` as the calibration of a kept bundle.

        One that is missing, damaged or of other vectors does not replace the kept one. Raises StoreFull
        beyond the quota.
        """
        kept = self.calibration(bundle)
        is_new = given.is_file() and not (kept.is_file() and filecmp.cmp(given, kept, shallow=False))
        if is_new and _is_readable(given, self._root / bundle[:N_DIGITS]):
            self._replace(kept, given)

    def _replace(self, kept: Path, given: Path) -> None:
        staged = self._root / f"{TMP_PREFIX}{uuid.uuid4().hex}"
        try:
            self._copy(given, staged, counted_for=staged)
            staged.replace(kept)
        except BaseException:
            self._remove(staged)
            raise
        self._quota.give_file(self._counted.pop(kept, 0))
        self._counted[kept] = self._counted.pop(staged)
        fsync_folder(self._root)

    def retain(self, bundles: Collection[str]) -> None:
        """Remove all other bundles, and what interrupted calls have left."""
        kept = {bundle[:N_DIGITS] for bundle in bundles}
        if self._root.is_dir():
            for entry in list(self._root.iterdir()):
                if entry.name.removesuffix(SUFFIX) not in kept:
                    self._remove(entry)

    def _require_space(self, manifest: Manifest) -> None:
        """Refuse a copy that does not fit before it fills the disk for all other writes."""
        n_bytes = sum(entry.bytes for entry in manifest.files.values())
        free = shutil.disk_usage(self._root).free
        if n_bytes > free:
            version = f"{manifest.name}/{manifest.version}"
            raise StoreFull(
                f"a copy of {version} takes {n_bytes} bytes of the disk, {free} are free: make room"
            )

    def _copy(self, source: Path, target: Path, *, counted_for: Path) -> None:
        n_bytes = size_of(source)
        self._quota.take_file(n_bytes)
        self._counted[counted_for] = self._counted.get(counted_for, 0) + n_bytes
        make_new(target)
        with source.open("rb") as read, target.open("wb") as written:
            if not _clone(read, written):
                shutil.copyfileobj(read, written, COPY_BYTES)
        fsync_file(target)

    def _remove(self, entry: Path) -> None:
        """Remove a folder or a file, if it is there."""
        if entry.is_dir():
            if not _is_unfinished(entry):  # so that no half of it seems to be there
                entry = self._rename_to_remove(entry)
            with around("bundle_remove"):
                shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
        self._quota.give_file(self._counted.pop(entry, 0))

    def _rename_to_remove(self, folder: Path) -> Path:
        target = self._root / f"{TMP_PREFIX}{uuid.uuid4().hex}"
        folder.rename(target)
        self._counted[target] = self._counted.pop(folder, 0)
        return target

    def _count(self, entry: Path) -> None:
        self._counted[entry] = _own_bytes(entry.iterdir() if entry.is_dir() else [entry])
        self._quota.count_file(self._counted[entry])


def _clone(source: BinaryIO, target: BinaryIO) -> bool:
    """Share the blocks of the source, where the file system copies them on write. Whether that worked."""
    with suppress(OSError):
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        return True
    return False


def _own_bytes(files: Iterable[Path]) -> int:
    """The size of the files that have no other name: earlier releases made hard links to the source."""
    stats = [path.stat() for path in files]
    return sum(one.st_size for one in stats if one.st_nlink == 1)


def _is_readable(calibration: Path, folder: Path) -> bool:
    with suppress(BundleError, OSError):
        read_calibration(calibration, read_manifest(folder))
        return True
    return False


def _is_unfinished(folder: Path) -> bool:
    return folder.name.startswith(TMP_PREFIX)


def _read(folder: Path) -> tuple[str, Manifest] | None:
    """The sha256 of the manifest, and the manifest, of a complete bundle."""
    try:
        return _require(folder)
    except (BundleError, OSError):
        return None


def _require(folder: Path, bundle: str | None = None) -> tuple[str, Manifest]:
    """As `_read`. Raises BundleError, OSError."""
    content = (folder / MANIFEST_FILE).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if bundle not in {None, digest}:
        raise CorruptBundle(f"{folder}: its {MANIFEST_FILE} has changed")
    manifest = parse_manifest(content, str(folder / MANIFEST_FILE))
    check_sizes(folder, manifest.files)
    return digest, manifest
