"""The versions of the model repository, and the copies of those that the data folder needs."""

import hashlib
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.bundle.checksums import check_sizes
from diptych.bundle.manifest import MANIFEST_FILE, Manifest, parse_manifest, read_manifest
from diptych.bundle.repository import ModelRepository
from diptych.core.types import VersionRef
from diptych.errors import BundleError, ConfigError, CorruptBundle, InvalidManifest, NotFound


@dataclass(frozen=True)
class _Known:
    """A manifest that was read, as long as its file stays the same; `error` if it is invalid."""

    stamp: tuple[int, int, int]  # inode, bytes and time of change of the file
    digest: str
    manifest: Manifest | None
    error: str = ""


class ModelBundles:
    """Satisfies `diptych.core.rollout.ports.Bundles`. Call from any thread."""

    def __init__(
        self, repository: ModelRepository, kept: KeptBundles, why_not_served: Callable[[Manifest], str | None]
    ) -> None:
        """`why_not_served` returns why this machine cannot serve a version; None if it can."""
        self._repository = repository
        self._kept = kept
        self._why_not_served = why_not_served
        self._known: dict[
            Path, _Known
        ] = {}  # manifests by their files, which are looked at every few seconds
        self._turn = threading.Lock()  # of changes of what is kept

    def newest(self, name: str, excluding: Collection[VersionRef] = ()) -> VersionRef | None:
        """The newest other complete version of the name that this machine may serve, or None."""
        for version in reversed(self._versions(name)):
            with suppress(BundleError, NotFound):
                manifest, ref = self._complete(name, version)
                if ref not in excluding and self._why_not_served(manifest) is None:
                    return ref
        return None

    def find(self, name: str, version: int) -> VersionRef:
        """The version in the model repository.

        Raises NotFound; BundleError for an incomplete one; ConfigError if this machine cannot serve it.
        """
        manifest, ref = self._complete(name, version)
        reason = self._why_not_served(manifest)
        if reason is not None:
            raise ConfigError(f"{ref} cannot be served here: {reason}")
        return ref

    def broken(self, name: str) -> dict[str, str]:
        """Entries of a model's folder that no server can serve, by name, with the reason."""
        found = self._repository.strangers(name)
        for version in self._versions(name):
            try:
                self._complete(name, version)
            except BundleError as error:
                found[str(version)] = str(error)
            except NotFound:
                continue  # it has just been removed
        return found

    def precisions(self, ref: VersionRef) -> list[str]:
        """The precisions of a version, the most exact one first. Raises NotFound, BundleError."""
        return list(read_manifest(self.folder(ref)).served_precisions)

    def folder(self, ref: VersionRef) -> Path:
        """The first of `folders`. Raises NotFound."""
        return self._folder_in_repository(ref) or self.folders(ref)[0]

    def folders(self, ref: VersionRef) -> list[Path]:
        """The folders of a version, at least one: in the model repository if it is there in full, and the
        kept copy.

        Where there is neither, the files of an incomplete version show what it lacks. Raises NotFound.
        """
        complete = [self._folder_in_repository(ref), self._kept.folder(ref.bundle)]
        found = [folder for folder in complete if folder is not None]
        if not found and (incomplete := self._folder_in_repository(ref, incomplete=True)) is not None:
            found.append(incomplete)
        if not found:
            raise NotFound(f"{ref} is not in the model repository, and the data folder keeps no copy of it")
        return found

    def calibrations(self, ref: VersionRef) -> tuple[Path, Path]:
        """The files of the calibration of a version, the first that can be used counts: in the model
        repository, in the data folder. They need not exist.
        """
        return self._repository.calibration(ref.name, ref.version), self._kept.calibration(ref.bundle)

    def keep(self, refs: Sequence[VersionRef]) -> None:
        """Keep copies of exactly these versions in the data folder, with their calibrations as they are now.

        Raises StoreError, and CorruptBundle for a version that is nowhere, after the others were kept.
        """
        with self._turn, file_errors_translated("the copies of models"):
            self._kept.retain({ref.bundle for ref in refs})
            lost = [ref for ref in dict.fromkeys(refs) if not self._keep(ref)]
        if lost:
            raise CorruptBundle(
                f"{', '.join(map(str, lost))}: neither in the model repository nor in the data folder, or "
                "damaged in both"
            )

    def kept_bytes(self, ref: VersionRef) -> int:
        """The size of the copy of a version in the data folder; 0 if there is none."""
        with suppress(OSError):
            return self._kept.n_bytes(ref.bundle)
        return 0

    def _keep(self, ref: VersionRef) -> bool:
        """Whether it is kept now. Hard links of earlier releases to the repository are replaced by a copy.

        A version that has left the repository may have a calibration there.
        """
        kept, source = self._kept.folder(ref.bundle), self._folder_in_repository(ref)
        is_copy = kept is not None and (
            source is None or not (kept / MANIFEST_FILE).samefile(source / MANIFEST_FILE)
        )
        if is_copy:
            self._kept.add_calibration(ref.bundle, self._repository.calibration(ref.name, ref.version))
        elif source is not None:
            self._kept.add(ref.bundle, source)
        return is_copy or source is not None

    def _folder_in_repository(self, ref: VersionRef, *, incomplete: bool = False) -> Path | None:
        find = self._stated if incomplete else self._complete
        with suppress(BundleError, NotFound):
            if find(ref.name, ref.version)[1] == ref:
                return self._repository.folder(ref.name, ref.version)
        return None

    def _versions(self, name: str) -> list[int]:
        try:
            return self._repository.versions(name)
        except NotFound:
            return []

    def _complete(self, name: str, version: int) -> tuple[Manifest, VersionRef]:
        """A version all of whose files are there in full. Raises NotFound, BundleError."""
        manifest, ref = self._stated(name, version)
        check_sizes(self._repository.folder(name, version), manifest.files)
        return manifest, ref

    def _stated(self, name: str, version: int) -> tuple[Manifest, VersionRef]:
        """A version as its manifest states it. Raises NotFound, InvalidManifest."""
        folder = self._repository.folder(name, version)
        manifest, digest = self._read(folder / MANIFEST_FILE, f"{name}/{version}/{MANIFEST_FILE}")
        if (manifest.name, manifest.version) != (name, version):
            raise InvalidManifest(
                f"{name}/{version}/{MANIFEST_FILE}: says it is {manifest.name}/{manifest.version}"
            )
        return manifest, VersionRef(name, version, digest)

    def _read(self, file: Path, label: str) -> tuple[Manifest, str]:
        """The manifest and its sha256, read again only if the file has changed. Raises InvalidManifest."""
        try:
            found = file.stat()
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._known.get(file)
            if known is None or known.stamp != stamp:
                known = self._known[file] = _parse(file.read_bytes(), label, stamp)
        except OSError as error:
            raise InvalidManifest(f"{label}: cannot be read: {error.strerror}") from error
        if known.manifest is None:
            raise InvalidManifest(known.error)
        return known.manifest, known.digest


def _parse(content: bytes, label: str, stamp: tuple[int, int, int]) -> _Known:
    digest = hashlib.sha256(content).hexdigest()
    try:
        return _Known(stamp, digest, parse_manifest(content, label))
    except InvalidManifest as error:
        return _Known(stamp, digest, None, error.message)
