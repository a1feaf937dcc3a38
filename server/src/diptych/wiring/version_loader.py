"""Load a version for the server: verify, prove, plan and warm it, and build its queues."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from diptych.adapters.files.calibration_reader import CalibrationReader
from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.serving.version import ReadCalibration, Version
from diptych.core.serving.versions import OnStep
from diptych.core.tuning.execution_layout import Plan
from diptych.core.tuning.precision import Execution
from diptych.core.types import Target, VersionRef
from diptych.errors import BundleError, ConfigError, CorruptBundle, DiptychError, EncoderFailed
from diptych.settings import AUTO, PREFIX, Settings
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle, verify_bundle
from diptych.wiring.loading.golden import warmed
from diptych.wiring.loading.version_choice import MachineSupport
from diptych.wiring.precisions.bf16_advice import bf16_advice
from diptych.wiring.precisions.chosen import ChosenPrecision, load_chosen
from diptych.wiring.precisions.tensorrt import with_tensorrt
from diptych.wiring.tuning.planning import plan_file_of, threads_of, with_plan

LOG = logging.getLogger("diptych.versions")
_COPY = "%s is damaged in the model repository, its copy is loaded instead: %s"
_NO_CALIBRATION = (
    "search hits of %s have no relevance: the version has left the model repository, and the data folder "
    "keeps no calibration of it; put %s.calibration.npz back, or put the version back and calibrate it"
)

BuildVersion = Callable[[LoadedBundle, DecodeMode, Execution, ReadCalibration], Version]


class BundleFolders(Protocol):
    """Finds the files of versions."""

    def folders(self, ref: VersionRef) -> list[Path]:
        """The folders of a version, at least one: in the model repository, in the data folder. Raises
        NotFound.
        """
        ...

    def calibrations(self, ref: VersionRef) -> tuple[Path, Path]:
        """The files of the calibration of a version: in the model repository, in the data folder. They need
        not exist.
        """
        ...

    def broken(self, name: str) -> dict[str, str]:
        """Entries of a model that cannot be served, such as an incomplete version, with the reason."""
        ...


class VersionLoader:
    """Loads versions, each in one precision. Blocking.

    Before the server has started, precisions and plans are measured. Later nothing can be measured during
    requests: a version is then loaded with the plan of the version that serves.
    """

    def __init__(
        self,
        settings: Settings,
        folders: BundleFolders,
        support: MachineSupport,
        build: BuildVersion,
        before_measuring: Callable[[], None] = lambda: None,
    ) -> None:
        """`build` makes the queues of a loaded precision. `before_measuring` waits for other work."""
        self._settings = settings
        self._folders = folders
        self._support = support
        self._build = build
        self._plan_file = plan_file_of(settings, before_measuring)
        self._serving: Callable[[], Version] | None = None

    def follow(self, serving: Callable[[], Version]) -> None:
        """Measure nothing from now on, since the version that `serving` returns gets requests."""
        self._serving = serving

    def load(self, target: Target, on_step: OnStep = lambda step: None) -> Version:
        """Verify, prove, plan and warm a version. Raises BundleError, EncoderFailed, ConfigError, NotFound.

        The precision `auto` is replaced by the one that suits this machine. `on_step` is called after each
        step.
        """
        try:
            return self._load(target, on_step)
        except DiptychError:
            raise
        except MemoryError as error:
            raise EncoderFailed(f"there is not enough memory to load {target}") from error
        except Exception as error:
            LOG.exception("%s cannot be loaded", target)
            raise BundleError(f"{target} cannot be loaded: {type(error).__name__}: {error}") from error

    def _load(self, target: Target, on_step: OnStep) -> Version:
        ref = target.ref
        bundle = self._verified(ref)
        if reason := self._support.why_unsuitable(bundle.manifest):
            raise ConfigError(f"{ref} cannot be served here: {reason}")
        there = bundle.manifest.served_precisions
        if target.precision not in {AUTO, *there}:
            raise ConfigError(f"{ref} has no precision {target.precision!r}, only {', '.join(there)}")
        on_step("verified")
        serving = None if self._serving is None else self._serving()
        chosen = self._chosen(bundle, target.precision)
        loaded = chosen.loaded
        try:
            on_step("proven")
            loaded = with_tensorrt(loaded, self._settings)
            loaded = warmed(with_plan(loaded, self._settings, _plan_of(serving), self._plan_file))
            on_step("warmed")
            choice = replace(chosen.choice, plan=loaded.plan, parity=loaded.parity)
            execution = Execution(choice, chosen.device)
            return self._build(loaded, target.decode, execution, self._calibration_reader(ref, bundle))
        except BaseException:  # frees the memory: another version may be loaded next
            loaded.encoder.close()
            raise

    def _calibration_reader(self, ref: VersionRef, bundle: VerifiedBundle) -> CalibrationReader:
        """Read the file in the model repository, or else the one in the data folder: a version may leave the
        repository, with its calibration or without.
        """
        files = self._folders.calibrations(ref)
        has_left = not (self._settings.model_repo / ref.name / str(ref.version)).is_dir()
        if has_left and not any(file.is_file() for file in files):
            LOG.warning(_NO_CALIBRATION, ref, ref)
        return CalibrationReader(*files, bundle.manifest)

    def _verified(self, ref: VersionRef) -> VerifiedBundle:
        """Verify the files of exactly this version, its copy if others are damaged.

        Raises BundleError, NotFound.
        """
        *others, last = self._folders.folders(ref)
        for folder in others:
            try:
                return _verified_in(folder, ref)
            except BundleError as error:
                LOG.error(_COPY, ref, error)
        bundle = _verified_in(last, ref)
        if not others and (incomplete := self._folders.broken(ref.name).get(str(ref.version))):
            LOG.error(_COPY, ref, incomplete)
        return bundle

    def _chosen(self, bundle: VerifiedBundle, precision: str) -> ChosenPrecision:
        settings = self._settings
        is_set = precision == settings.precision
        chosen = load_chosen(
            bundle,
            precision=precision,
            reason=f"set by {PREFIX}PRECISION" if is_set else "named by the data folder or by an activation",
            device=settings.device,
            n_threads=threads_of(settings),
            plan_file=self._plan_file,
        )
        if is_set or settings.read_only:  # a read-only server cannot move
            return chosen
        return self._advising_bf16(chosen)

    def _advising_bf16(self, chosen: ChosenPrecision) -> ChosenPrecision:
        """Add to the reason how to move to bf16, where that may be of use: a recorded precision is kept."""
        advice = bf16_advice(chosen, threads_of(self._settings), self._plan_file)
        if advice is None:
            return chosen
        choice, manifest = chosen.choice, chosen.loaded.bundle.manifest
        LOG.info("%s/%d: %s", manifest.name, manifest.version, advice)
        return replace(chosen, choice=replace(choice, reason=f"{choice.reason}; {advice}"))


def _verified_in(folder: Path, ref: VersionRef) -> VerifiedBundle:
    """Raises BundleError."""
    bundle = verify_bundle(folder)
    manifest = bundle.manifest
    if (manifest.name, manifest.version, bundle.digest) != (ref.name, ref.version, ref.bundle):
        raise CorruptBundle(f"{ref} is no longer the version that it was: its manifest has changed")
    return bundle


def _plan_of(serving: Version | None) -> Plan | None:
    return None if serving is None else serving.execution.choice.plan
