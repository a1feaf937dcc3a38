"""Load a version for the server: verify, prove, plan and warm it, and build its pipelines."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from diptych.adapters.files.calibration_reader import CalibrationReader
from diptych.adapters.tensorrt.build import build_in_child
from diptych.bundle.calibration import calibration_file
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.encoding.versions import LoadedVersion, OnStep, Upgrade
from diptych.core.tuning.execution_layout import Plan
from diptych.core.tuning.precision import CPU_PROVIDER, CUDA_PROVIDER, Serving, TensorRt
from diptych.core.types import VersionRef
from diptych.errors import BundleError, ConfigError, CorruptBundle, DiptychError, EncoderFailed
from diptych.settings import AUTO, Settings
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle, verify_bundle
from diptych.wiring.loading.compatibility import MachineSupport
from diptych.wiring.loading.warming import warmed
from diptych.wiring.precisions.chosen import ChosenPrecisions, load_chosen
from diptych.wiring.precisions.on_demand import BuildPipeline, OnDemandPrecisions
from diptych.wiring.precisions.tensorrt_upgrade import TensorRtUpgrade
from diptych.wiring.tuning.planning import plan_file_of, threads_of, with_plan

LOG = logging.getLogger("diptych.versions")


class BundleFolders(Protocol):
    """Finds the files of versions."""

    def folders(self, ref: VersionRef) -> list[Path]:
        """The folders of a version, at least one: in the model repository, in the data folder. Raises
        NotFound.
        """
        ...


class VersionLoader:
    """Loads versions in the precisions that the settings and this machine choose. Blocking.

    Before the server has started, precisions and plans are measured. Later nothing can be measured beside
    requests: a version is then loaded in the precision and with the plan of the version that serves.
    """

    def __init__(
        self,
        settings: Settings,
        folders: BundleFolders,
        support: MachineSupport,
        build: BuildPipeline,
        before_measuring: Callable[[], None] = lambda: None,
    ) -> None:
        """`build` makes the pipeline of a loaded precision. `before_measuring` waits for other work."""
        self._settings = settings
        self._folders = folders
        self._support = support
        self._build = build
        self._plan_file = plan_file_of(settings, before_measuring)
        self._serving: Callable[[], LoadedVersion] | None = None

    def follow(self, serving: Callable[[], LoadedVersion]) -> None:
        """Measure nothing from now on, since the version that `serving` returns gets requests."""
        self._serving = serving

    def load(
        self, ref: VersionRef, on_step: OnStep = lambda step: None, *, falls_back: bool = False
    ) -> LoadedVersion:
        """Verify, prove, plan and warm a version. Raises BundleError, EncoderFailed, ConfigError, NotFound.

        `on_step` is called after each step. With `falls_back`, a precision that the settings name and that
        cannot be served here is replaced by one that can.
        """
        try:
            return self._load(ref, on_step, falls_back)
        except DiptychError:
            raise
        except MemoryError as error:
            raise EncoderFailed(f"there is not enough memory to load {ref}") from error
        except Exception as error:
            LOG.exception("%s cannot be loaded", ref)
            raise BundleError(f"{ref} cannot be loaded: {type(error).__name__}: {error}") from error

    def _load(self, ref: VersionRef, on_step: OnStep, falls_back: bool) -> LoadedVersion:
        bundle = self._verified(ref)
        if reason := self._support.why_unsuitable(bundle.manifest):
            raise ConfigError(f"{ref} cannot be served here: {reason}")
        on_step("verified")
        serving = None if self._serving is None else self._serving()
        chosen = self._chosen(bundle, serving, falls_back)
        try:
            on_step("proven")
            chosen = self._planned_and_warmed(chosen, serving)
            on_step("warmed")
            pipelines = self._pipelines(ref, chosen)
        except BaseException:  # frees the memory: another version may be loaded next and capture CUDA graphs
            for loaded in (chosen.embed, chosen.collections):
                loaded.encoder.close()
            raise
        read_calibration = self._calibration_reader(ref, bundle)
        return LoadedVersion(
            ref,
            pipelines,
            chosen.serving,
            self._upgrades(chosen, pipelines),
            read_calibration,
            read_calibration(),
        )

    def _calibration_reader(self, ref: VersionRef, bundle: VerifiedBundle) -> CalibrationReader:
        """Read the file in the model repository, also if the version itself has left it: a copy in the data
        folder has none of its own.
        """
        folder = self._settings.model_repo / ref.name / str(ref.version)
        return CalibrationReader(calibration_file(folder), bundle.manifest)

    def _verified(self, ref: VersionRef) -> VerifiedBundle:
        """Verify the files of exactly this version, its copy if others are damaged.

        Raises BundleError, NotFound.
        """
        *others, last = self._folders.folders(ref)
        for folder in others:
            try:
                return _verified_in(folder, ref)
            except BundleError as error:
                LOG.error("%s is damaged in the model repository, its copy is loaded instead: %s", ref, error)
        return _verified_in(last, ref)

    def _chosen(
        self, bundle: VerifiedBundle, serving: LoadedVersion | None, falls_back: bool
    ) -> ChosenPrecisions:
        settings = self._settings
        return load_chosen(
            bundle,
            precision=settings.precision,
            collection_precision=settings.collection_precision,
            device=settings.device,
            n_threads=threads_of(settings),
            captures=settings.cuda_graphs == AUTO,
            plan_file=self._plan_file,
            like=None if serving is None else serving.serving.embed.precision,
            falls_back=falls_back,
        )

    def _planned_and_warmed(
        self, chosen: ChosenPrecisions, serving: LoadedVersion | None
    ) -> ChosenPrecisions:
        """Return the same precisions, each with its execution plan and after its warm-up runs."""

        def ready(loaded: LoadedBundle) -> LoadedBundle:
            return warmed(with_plan(loaded, self._settings, _plan_of(serving), self._plan_file))

        embed = ready(chosen.embed)
        is_same = chosen.collections is chosen.embed
        collections = embed if is_same else ready(chosen.collections)
        planned = Serving(
            replace(chosen.serving.embed, plan=embed.plan),
            replace(chosen.serving.collections, plan=collections.plan),
            chosen.serving.device,
        )
        return ChosenPrecisions(embed, collections, planned)

    def _pipelines(self, ref: VersionRef, chosen: ChosenPrecisions) -> PipelinePool:
        """Build the pipeline pool.

        It has one pipeline for requests, one for collections (the same one when their precision is the same),
        and a loader for precisions that single collections ask for.
        """
        requests = self._build(chosen.embed, ("image", "text"), self._settings.decode)
        is_same = chosen.collections is chosen.embed
        names = ("collection_image", "collection_text")
        collections = requests if is_same else self._build(chosen.collections, names, self._settings.decode)
        on_demand = OnDemandPrecisions(
            self._settings,
            chosen.collections,
            self._build,
            verify=lambda: self._verified(ref),
            plan_file=self._plan_file,
        )
        return PipelinePool(
            requests,
            collections,
            precisions=tuple(chosen.collections.bundle.manifest.precisions),
            open=on_demand.open,
        )

    def _upgrades(self, chosen: ChosenPrecisions, pipelines: PipelinePool) -> list[Upgrade]:
        """Return an upgrade to TensorRT for each precision that CUDA serves, if the settings ask for it.

        Sets the TensorRT state of every pipeline, with the reason where there is no upgrade.
        """
        if self._settings.tensorrt == "off":
            return []
        upgrades: list[Upgrade] = []
        both = ((chosen.embed, pipelines.for_requests), (chosen.collections, pipelines.for_collections))
        distinct = {id(loaded): (loaded, pipeline) for loaded, pipeline in both}
        for loaded, pipeline in distinct.values():
            if loaded.encoder.provider == CPU_PROVIDER:
                pipeline.encoder.set_tensorrt_state(TensorRt("unavailable", "the encoders run on a CPU"))
                continue
            if loaded.encoder.provider != CUDA_PROVIDER:
                pipeline.encoder.set_tensorrt_state(TensorRt("serving", "this version was built by it"))
                continue
            pipeline.encoder.set_tensorrt_state(TensorRt("building", "it has not begun"))
            upgrade = TensorRtUpgrade(
                loaded,
                pipeline.encoder,
                identity=pipeline.model.identity,
                cache_dir=self._settings.cache_dir,
                build=build_in_child,
                on_change=pipelines.changed,
            )
            upgrades.append(upgrade.run)
        return upgrades


def _verified_in(folder: Path, ref: VersionRef) -> VerifiedBundle:
    """Raises BundleError."""
    bundle = verify_bundle(folder)
    manifest = bundle.manifest
    if (manifest.name, manifest.version, bundle.digest) != (ref.name, ref.version, ref.bundle):
        raise CorruptBundle(f"{ref} is no longer the version that it was: its manifest has changed")
    return bundle


def _plan_of(serving: LoadedVersion | None) -> Plan | None:
    return None if serving is None else serving.serving.embed.plan
