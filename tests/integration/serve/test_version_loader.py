"""Loading a version in a precision: its steps, and what stops it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.adapters.prometheus import PrometheusMetrics
from diptych.bundle.checksums import describe_files
from diptych.bundle.image.preprocess import DecodeMode, ImageLimits
from diptych.bundle.manifest import MANIFEST_FILE, bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych.core.limits import Limits
from diptych.core.serving.version import ReadCalibration, Version
from diptych.core.tuning.precision import Execution
from diptych.core.types import Target, VersionRef
from diptych.errors import (
    BundleError,
    ConfigError,
    CorruptBundle,
    DiptychError,
    EncoderFailed,
)
from diptych.settings import Settings
from diptych.wiring import version_loader
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.version_choice import support_of
from diptych.wiring.precisions import chosen
from diptych.wiring.tuning import planning
from diptych.wiring.version import build_version
from diptych.wiring.version_loader import VersionLoader
from support.tiny_bundle import TINY, Fault, write_tiny_bundle

IMAGE_FILE = "image_encoder.onnx"


class Folders:
    """The versions of one model repository."""

    def __init__(self, root: Path) -> None:
        self.repository = ModelRepository(root)

    def folders(self, ref: VersionRef) -> list[Path]:
        return [self.repository.folder(ref.name, ref.version)]

    def broken(self, name: str) -> dict[str, str]:
        return {}

    def ref(self, version: int) -> VersionRef:
        return VersionRef(TINY, version, bundle_digest(self.repository.folder(TINY, version)))


def loader_of(folder: Path, **given: object) -> VersionLoader:
    plan = {"n_threads": 1, "n_lanes": 1}
    settings = Settings(**{"model_repo": folder / "repo", "data_dir": folder / "data", **plan, **given})
    workers, metrics = ImageWorkers(ImageLimits(), n_threads=1), PrometheusMetrics()

    def build(
        loaded: LoadedBundle, decode: DecodeMode, execution: Execution, read_calibration: ReadCalibration
    ) -> Version:
        return build_version(
            settings,
            Limits(),
            loaded,
            workers,
            metrics,
            decode=decode,
            execution=execution,
            read_calibration=read_calibration,
            on_stuck=print,
        )

    return VersionLoader(settings, Folders(folder / "repo"), support_of(settings), build)


def written(folder: Path, *versions: dict[str, Fault]) -> list[VersionRef]:
    """Write a version with each of these precisions."""
    folders = Folders(folder / "repo")
    return [
        folders.ref(write_tiny_bundle(folder / "repo", seed=n, precisions=precisions))
        for n, precisions in enumerate(versions)
    ]


def changed(folder: Path, change: Callable[[Path], None]) -> VersionRef:
    """Publish version 1 again with changed files, which its manifest describes as they are then."""
    folders = Folders(folder / "repo")
    manifest = folders.repository.manifest(TINY, 1)
    with folders.repository.staging(TINY) as staged:
        for file in manifest.files:
            shutil.copy(folders.repository.folder(TINY, 1) / file, staged)
        change(staged)
        described = manifest.model_copy(update={"files": describe_files(staged)})
        return folders.ref(folders.repository.publish_copy(TINY, staged, described))


def exact(ref: VersionRef) -> Target:
    return Target(ref, "fp32", "exact")


def test_version_is_verified_proven_and_warmed_and_belongs_to_its_bundle(tmp_path: Path) -> None:
    (ref,) = written(tmp_path, {"fp32": "equal"})
    steps: list[str] = []
    version = loader_of(tmp_path).load(exact(ref), steps.append)
    assert steps == ["verified", "proven", "warmed"]
    assert version.ref == version.model.ref == ref
    assert version.target == version.model.target == exact(ref)
    assert version.execution.choice.plan is not None


def test_auto_is_replaced_by_the_chosen_precision(tmp_path: Path) -> None:
    (ref,) = written(tmp_path, {"fp32": "broken", "int8": "equal"})
    version = loader_of(tmp_path).load(Target(ref, "auto", "exact"))
    assert version.target == Target(ref, "int8", "exact")


def test_while_requests_run_nothing_is_measured_and_the_plan_is_that_of_the_version_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both: dict[str, Fault] = {"fp32": "equal", "int8": "equal"}
    first, second = written(tmp_path, both, both)
    loader = loader_of(tmp_path)
    former = loader.load(exact(first))
    loader.follow(lambda: former)
    for module, name in ((chosen, "encoder_timings"), (planning, "cpu_layout")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it measures"))
    version = loader.load(Target(second, "int8", "exact"))
    assert version.target.precision == "int8"
    assert version.execution.choice.plan == former.execution.choice.plan


def test_precision_that_the_version_lacks_is_an_error_that_names_those_it_has(tmp_path: Path) -> None:
    (ref,) = written(tmp_path, {"fp32": "equal"})
    with pytest.raises(ConfigError, match="tiny/1 has no precision 'int8', only fp32"):
        loader_of(tmp_path).load(Target(ref, "int8", "exact"))


def truncate(folder: Path) -> None:
    content = (folder / IMAGE_FILE).read_bytes()
    (folder / IMAGE_FILE).write_bytes(content[: len(content) // 2])


def fill_with_nan(folder: Path) -> None:
    graph = onnx.load(folder / IMAGE_FILE)
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    onnx.save(graph, folder / IMAGE_FILE)


def exchange_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (truncate, BundleError, "image_encoder.onnx does not load in onnxruntime"),
        (fill_with_nan, DiptychError, "image"),
        (exchange_tokenizer, BundleError, "tokenizer.json"),
    ],
)
def test_version_with_a_broken_file_fails_with_the_reason(
    tmp_path: Path, change: Callable[[Path], None], error: type[DiptychError], words: str
) -> None:
    written(tmp_path, {"fp32": "equal"})
    with pytest.raises(error, match=words):
        loader_of(tmp_path).load(exact(changed(tmp_path, change)))


def test_version_whose_files_differ_from_its_manifest_fails(tmp_path: Path) -> None:
    first, second, third, fourth = written(tmp_path, *([{"fp32": "equal"}] * 3), {"fp32": "broken"})
    repo, loader = tmp_path / "repo" / TINY, loader_of(tmp_path)
    with (repo / "1" / IMAGE_FILE).open("r+b") as file:
        file.write(b"\0")
    with pytest.raises(CorruptBundle, match=r"1/image_encoder.onnx: sha256 is"):
        loader.load(exact(first))
    shutil.copy(repo / "3" / MANIFEST_FILE, repo / "2" / MANIFEST_FILE)
    with pytest.raises(CorruptBundle, match="2/"):
        loader.load(exact(second))
    shutil.rmtree(repo / "3")
    with pytest.raises(DiptychError, match="no version 3"):
        loader.load(exact(third))
    with pytest.raises(BundleError, match="golden image 1: cosine is"):
        loader.load(exact(fourth))


def test_folder_that_was_exchanged_for_another_version_of_the_number_is_not_loaded(tmp_path: Path) -> None:
    (ref,) = written(tmp_path, {"fp32": "equal"})
    shutil.rmtree(tmp_path / "repo" / TINY)
    write_tiny_bundle(tmp_path / "repo", seed=7)
    with pytest.raises(CorruptBundle, match="tiny/1 is no longer the version that it was"):
        loader_of(tmp_path).load(exact(ref))


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (MemoryError(), EncoderFailed, "not enough memory to load tiny/1 in fp32"),
        (
            RuntimeError("no threads"),
            BundleError,
            "tiny/1 in fp32 cannot be loaded: RuntimeError: no",
        ),
    ],
)
def test_want_of_memory_and_unexpected_errors_have_a_reason_and_free_the_encoders(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    error: type[DiptychError],
    words: str,
) -> None:
    (ref,) = written(tmp_path, {"fp32": "equal"})

    def fail(loaded: LoadedBundle) -> LoadedBundle:
        raise failure

    monkeypatch.setattr(version_loader, "warmed", fail)
    with pytest.raises(error, match=words):
        loader_of(tmp_path).load(exact(ref))
