"""Loading a version in a precision: its steps, and what stops it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.adapters.prometheus import PrometheusMetrics
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
from diptych.wiring.loading.bundles import LoadedBundle, verify_bundle
from diptych.wiring.loading.version_choice import support_of
from diptych.wiring.precisions import chosen
from diptych.wiring.precisions.trials import Trials
from diptych.wiring.tuning import planning
from diptych.wiring.version import build_version
from diptych.wiring.version_loader import VersionLoader
from support.tiny_bundle import TINY, Fault, write_tiny_bundle

IMAGE_FILE = "image_encoder.onnx"


class Folders:
    """The versions of one model repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repository = ModelRepository(root)

    def folders(self, ref: VersionRef) -> list[Path]:
        return [self.repository.folder(ref.name, ref.version)]

    def calibrations(self, ref: VersionRef) -> tuple[Path, Path]:
        return self.repository.calibration(ref.name, ref.version), self.root / "kept.calibration.npz"

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


@pytest.mark.parametrize(("slowest_batch_s", "timeout_s"), [(0.1, 60), (7.0, 70)])
def test_slow_model_gets_a_longer_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowest_batch_s: float, timeout_s: float
) -> None:
    (ref,) = written(tmp_path, {"fp32": "equal"})
    monkeypatch.setattr(
        version_loader, "warmed", lambda loaded: replace(loaded, slowest_batch_s=slowest_batch_s)
    )
    assert loader_of(tmp_path).load(exact(ref)).timeout_s == pytest.approx(timeout_s)


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


DATA_FILE = "image_encoder.onnx.data"


@pytest.fixture
def model_repo(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "model_repo", external_data=True)
    return tmp_path / "model_repo"


def test_data_file_is_listed_verified_and_found_by_the_graph(model_repo: Path) -> None:
    bundle = verify_bundle(ModelRepository(model_repo).folder(TINY, 1))
    assert {DATA_FILE, "text_encoder.onnx.data"} <= set(bundle.manifest.files)
    assert (bundle.folder / "image_encoder.onnx").stat().st_size < (bundle.folder / DATA_FILE).stat().st_size
    write_tiny_bundle(model_repo)
    whole = verify_bundle(ModelRepository(model_repo).folder(TINY, 2))
    outside, inside = (Trials(one, device="cpu", n_threads=1).load("fp32").encoder for one in (bundle, whole))
    pixels, input_ids = bundle.golden.pixels, bundle.golden.input_ids
    np.testing.assert_array_equal(outside.encode_image(pixels), inside.encode_image(pixels))
    np.testing.assert_array_equal(outside.encode_text(input_ids), inside.encode_text(input_ids))


def test_graph_that_takes_its_weights_from_outside_the_bundle_does_not_load(
    model_repo: Path, tmp_path: Path
) -> None:
    """Those bytes would be none that the manifest speaks of."""
    folder = model_repo / TINY / "1"
    (tmp_path / "model_repo" / "outside.data").write_bytes((folder / DATA_FILE).read_bytes())
    graph = onnx.load(folder / "image_encoder.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../outside.data"
    (folder / "image_encoder.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(BundleError, match=r"image_encoder\.onnx does not load"):
        OnnxEncoder(folder / "image_encoder.onnx", folder / "text_encoder.onnx", n_threads=1)
