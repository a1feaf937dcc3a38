"""Plans of a version: built, proven and published, or not; TensorRT is one that a CPU computes.

The text tower here is read at the largest id of a text, as CLIP's is.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from diptych.adapters.onnxruntime import gpu_graph_rewrites
from diptych.bundle.manifest import Manifest, ManifestDraft
from diptych.bundle.repository import ModelRepository
from diptych.errors import ConfigError
from diptych_training.cli import main
from diptych_training.config import StartConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, ExportError, ImportFailed, ParityFailed, TooFewSamples
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle, named_bundle
from diptych_training.export.tensorrt import publish, reference
from diptych_training.export.tensorrt.publish import export_plans
from diptych_training.export.tensorrt.reference import parity_with_model
from diptych_training.export.tensorrt.request import PlanRequest
from diptych_training.finetune.source_model import open_source_model
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.own import load_own_bundle
from diptych_training.stages import ProgressReporter
from support.fake_cuda_bindings import FakeGpu
from support.fake_tensorrt import FakeTensorrt
from support.largest_id import read_at_largest_id
from support.moved_bytes import move_bytes_first
from support.tiny_bundle import TINY, write_tiny_bundle
from support.tiny_run import write_tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorrt:
    return FakeTensorrt(FakeGpu()).install(monkeypatch)


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """Holds `tiny/1`, whose texts are read at their largest id, and whose pixels are moved as bytes."""
    made = ModelRepository(tmp_path / "made")
    write_tiny_bundle(tmp_path / "made")
    folder, manifest = made.folder(TINY, 1), made.manifest(TINY, 1)
    repository = ModelRepository(tmp_path / "repo")
    with repository.staging(TINY) as staged:
        for file in manifest.files:
            shutil.copyfile(folder / file, staged / file)
        move_bytes_first(staged / "image_encoder.onnx")
        read_at_largest_id(staged)
        (staged / "MODEL_CARD.md").write_text("# tiny\n\nA card.\n")
        (staged / "weights.safetensors").write_bytes(b"weights")
        kept = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
        kept["extra"] = {"matryoshka_dimensions": [8], "notes": ["of its own"]}
        repository.publish(TINY, staged, ManifestDraft(**kept))
    return repository


def export(
    repository: ModelRepository, dataset: PackedDataset, said: list[str] | None = None, **asked: Any
) -> int:
    reporter = ProgressReporter(say=(said if said is not None else []).append, advance=lambda _: None)
    return export_plans(repository, (TINY, 1), PlanRequest(**asked), reporter, data=dataset.path)


def stated(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = manifest.model_dump(mode="json")
    return found


def test_plans_are_the_next_version_and_name_gpu_release_and_profiles(
    repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt
) -> None:
    said: list[str] = []
    assert export(repository, dataset, said) == 2
    manifest = repository.verify(TINY, 2)
    build = stated(manifest)["tensorrt"]
    assert (build["gpu"], build["compute_capability"], build["version"]) == (
        "NVIDIA H100",
        "9.0",
        "10.16.1.11",
    )
    assert [one["batch"] for one in build["image_profiles"]] == [
        {"min": 1, "opt": 1, "max": 4},
        {"min": 1, "opt": 32, "max": 256},
    ]
    assert build["text_profiles"][1] == {
        "batch": {"min": 1, "opt": 64, "max": 256},
        "length": {"min": 2, "opt": 16, "max": 24},
    }
    assert list(manifest.precisions) == ["fp16"]
    parity = manifest.precisions["fp16"].parity
    assert parity is not None
    assert (parity.n_images >= 1000, parity.n_texts >= 100, parity.cosine_min >= 0.999) == (True, True, True)
    assert stated(manifest)["source"]["version"] == "tiny/1"
    assert stated(manifest)["source"]["made_from"] == {"kind": "test"}
    assert manifest.extra == {"matryoshka_dimensions": [8]}


def test_cards_and_tokenizer_travel_along_and_graphs_and_weights_do_not(
    repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt
) -> None:
    folder = repository.folder(TINY, export(repository, dataset))
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "tokenizer.json", "golden.npz", "MODEL_CARD.md",
        "image_encoder.fp16.plan", "text_encoder.fp16.plan",
    }  # fmt: skip
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# tiny\n\nA card.\n")
    assert "Plans of version 1, only for NVIDIA H100 (compute capability 9.0) and TensorRT 10.16.1.11" in card
    assert not list(folder.parent.glob(".tmp-*"))


def test_graphs_are_built_in_float16_with_ids_compared_in_float32(
    repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt
) -> None:
    export(repository, dataset, precisions=("fp16", "fp32"))
    images, texts, exact_images, _ = tensorrt.built
    assert TensorProto.FLOAT16 in images["types"].values()
    assert texts["types"]["position_0_ids"] == TensorProto.FLOAT
    assert TensorProto.FLOAT16 not in exact_images["types"].values()
    assert list(repository.manifest(TINY, 2).precisions) == ["fp16", "fp32"]


def test_plans_are_not_built_where_the_data_cannot_prove_them(
    repository: ModelRepository, tensorrt: FakeTensorrt, tmp_path: Path
) -> None:
    few = write_tiny_dataset(tmp_path / "few", n_icons=20)
    with pytest.raises(TooFewSamples, match="60 held-out images with 30 texts"):
        export(repository, few)
    assert tensorrt.built == []
    assert repository.versions(TINY) == [1]


def test_text_tower_that_tensorrt_reads_at_the_wrong_place_is_caught_and_not_published(
    repository: ModelRepository,
    dataset: PackedDataset,
    tensorrt: FakeTensorrt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensorrt.pools_wrongly = True
    monkeypatch.setattr(gpu_graph_rewrites, "replace_argmax_by_reductions", lambda model: 0)
    with pytest.raises(ParityFailed, match="fp16 does not match the float32 original: cosine_min is"):
        export(repository, dataset)
    assert repository.versions(TINY) == [1]


def test_graph_whose_bytes_are_not_cast_first_ends_the_build_named(
    repository: ModelRepository,
    dataset: PackedDataset,
    tensorrt: FakeTensorrt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu_graph_rewrites, "cast_uint8_inputs", lambda model: 0)
    with pytest.raises(ExportError, match=r"TensorRT cannot read image_encoder.*Shape"):
        export(repository, dataset)


def test_conversion_leaves_nothing_that_tensorrt_reads_at_the_wrong_place(
    repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt
) -> None:
    tensorrt.pools_wrongly = True
    assert export(repository, dataset) == 2


@pytest.mark.parametrize("largest", [4, 40, 200])
def test_plan_that_is_wrong_in_one_of_its_profiles_is_caught(
    largest: int, repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt
) -> None:
    tensorrt.turns_large_batches = largest  # the sample runs in batches of 32, the largest profile takes 256
    with pytest.raises(ParityFailed, match="batch_cosine_min is"):
        export(repository, dataset)
    assert repository.versions(TINY) == [1]


def test_version_that_was_imported_is_proven_on_photographs(
    repository: ModelRepository,
    tensorrt: FakeTensorrt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = repository.folder(TINY, 1) / "manifest.json"
    file.write_text(file.read_text().replace('"kind": "test"', '"kind": "import"'))
    monkeypatch.setattr(reference, "N_PROOF_IMAGES", 40)
    reporter = ProgressReporter(say=lambda _: None, advance=lambda _: None)
    export_plans(repository, (TINY, 1), PlanRequest(ungated=True), reporter, data=tmp_path / "no data")
    parity = repository.verify(TINY, 2).precisions["fp16"].parity
    assert parity is not None
    assert (parity.n_images, parity.cosine_min >= 0.999) == (40, True)


def test_plans_are_evaluated_by_tensorrt_and_trained_on_from_the_version_that_they_are_of(
    repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt, tmp_path: Path
) -> None:
    version = export(repository, dataset)
    model = load_evaluated_bundle(repository, TINY, version, precision="fp16")
    assert (model.name, model.runtime) == ("tiny/2 (fp16)", "TensorRT 10.16.1.11")
    assert named_bundle(repository, TINY) == (TINY, 1)
    folder = repository.folder(TINY, version)
    with pytest.raises(ImportFailed, match="tiny/2 holds TensorRT plans of tiny/1: import that"):
        load_own_bundle(folder, Choices())
    start = StartConfig(source=str(folder))
    with pytest.raises(CheckpointError, match="tiny/2 holds TensorRT plans of tiny/1: name that"):
        open_source_model(start, tmp_path, tmp_path / "repo")


def test_ungated_plans_are_published_and_say_so(
    repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt
) -> None:
    tensorrt.turns_large_batches = 4
    assert repository.manifest(TINY, export(repository, dataset, ungated=True)).ungated


def test_distance_of_the_float32_graphs_is_added_to_that_of_the_plan(
    repository: ModelRepository,
) -> None:
    one = repository.manifest(TINY, 1).precisions["fp32"].parity
    assert one is not None
    plan, exact = (one.model_copy(update={"cosine_min": low}) for low in (0.9995, 0.99999))
    assert parity_with_model(plan, exact).cosine_min == pytest.approx(
        np.cos(np.arccos(0.9995) + np.arccos(0.99999))
    )
    assert parity_with_model(plan, one).cosine_min == pytest.approx(0.9995)
    assert parity_with_model(plan, None) == plan


def test_what_cannot_be_built_is_refused_before_anything_is_written(
    repository: ModelRepository, dataset: PackedDataset, tensorrt: FakeTensorrt
) -> None:
    version = export(repository, dataset)
    reporter = ProgressReporter(say=lambda _: None, advance=lambda _: None)
    with pytest.raises(ExportError, match="tiny/2 holds TensorRT plans itself"):
        export_plans(repository, (TINY, version), PlanRequest(), reporter, data=dataset.path)
    tensorrt.refuses = "out of memory"
    with pytest.raises(ExportError, match=r"cannot build a plan of image_encoder\.onnx: out of memory"):
        export(repository, dataset)
    assert repository.versions(TINY) == [1, 2]


def test_command_needs_a_gpu_before_it_does_anything(
    repository: ModelRepository, tensorrt: FakeTensorrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensorrt.gpu.fails["cudaGetDeviceCount"] = "cudaErrorNoDevice"
    with pytest.raises(ConfigError, match="finds no GPU"):
        publish.require_tensorrt()
    flags = ["--name", TINY, "--model-repo", str(tmp_path / "repo"), "--run", str(tmp_path), "--tensorrt"]
    assert main(["export", *flags]) == 1
    assert "the NVIDIA driver finds no GPU" in capsys.readouterr().err


def test_command_builds_plans_of_a_version_and_says_where_they_are(
    repository: ModelRepository,
    dataset: PackedDataset,
    tensorrt: FakeTensorrt,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--name", TINY, "--from-version", "1", "--tensorrt"]
    places = ["--model-repo", str(tmp_path / "repo"), "--data", str(dataset.path)]
    assert main(["export", *flags, *places]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(repository.folder(TINY, 2))
    manifest = json.loads((repository.folder(TINY, 2) / "manifest.json").read_text())
    assert [one["batch"]["max"] for one in manifest["tensorrt"]["image_profiles"]] == [4, 256]
