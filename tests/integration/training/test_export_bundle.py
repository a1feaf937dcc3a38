"""Export of a run: from its folder to a bundle that the server's parts load, and faults that must stop it."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.torch import load_file

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.golden import check_golden, read_golden
from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import GoldenMismatch
from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.config.start import StartConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ParityFailed
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export import command
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.onnx.bundle_files import (
    IMAGE_FILE,
    TEXT_FILE,
)
from diptych_training.export.proof.prove import Reference, proof_on_dataset, prove_parity, require_parity
from diptych_training.export.publish import export_run
from diptych_training.importing.common.imported_model import Choices
from diptych_training.importing.common.weight_files import read_weights
from diptych_training.importing.own import load_own_bundle
from diptych_training.importing.source_model import open_source_model
from diptych_training.models import build_model
from diptych_training.provenance import collect_provenance
from diptych_training.stages import ProgressReporter
from support.documents import ROOT
from support.tiny_run import write_tiny_dataset, write_tiny_run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: PackedDataset) -> TrainedRun:
    run = load_run(write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny"))
    return replace(run, provenance=collect_provenance(dataset, run.config, {}))


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory, run: TrainedRun, dataset: PackedDataset
) -> ModelRepository:
    """Holds `drawings/1`, exported from the run."""
    repository = ModelRepository(tmp_path_factory.mktemp("model_repo"))
    export_run(run, dataset, repository, ExportOptions("drawings", optimise=False), quiet())
    return repository


def quiet(said: list[str] | None = None) -> ProgressReporter:
    return ProgressReporter(report=(said if said is not None else []).append, advance=lambda _: None)


def load(
    repository: ModelRepository, name: str = "drawings"
) -> tuple[Path, Manifest, TextTokenizer, OnnxEncoder]:
    manifest, folder = repository.verify(name, 1), repository.folder(name, 1)
    tokenizer = TextTokenizer(folder / "tokenizer.json", manifest.text)
    return folder, manifest, tokenizer, OnnxEncoder(folder / IMAGE_FILE, folder / TEXT_FILE)


def test_an_exported_run_is_a_bundle_that_proves_itself(repository: ModelRepository) -> None:
    folder, manifest, tokenizer, encoder = load(repository)

    report = check_golden(read_golden(folder / "golden.npz"), manifest, "fp32", tokenizer, encoder)

    assert min(report.image_cosine_min, report.text_cosine_min) >= 0.99999
    assert manifest.licence == "MIT"
    assert manifest.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert manifest.source["run"] == "tiny"
    assert manifest.metrics["validation"] == {"icons_top1": 0.25}


def test_no_file_of_a_bundle_tells_where_it_was_made(repository: ModelRepository) -> None:
    folder, *_ = load(repository)
    for file in folder.iterdir():
        found = file.read_bytes()
        assert str(ROOT).encode() not in found, file.name
        assert b'File "/' not in found, file.name  # of a stack trace


def test_every_file_of_a_bundle_may_be_read_by_the_server_that_did_not_make_it(
    repository: ModelRepository,
) -> None:
    folder, *_ = load(repository)
    mask = os.umask(0)
    os.umask(mask)

    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666 & ~mask}


@pytest.mark.long
def test_half_weights_take_less_room_and_compute_what_the_trained_ones_do(
    tmp_path: Path, run: TrainedRun, dataset: PackedDataset, repository: ModelRepository
) -> None:
    halves = ModelRepository(tmp_path / "model_repo")
    statement, advanced = ExportOptions("drawings", optimise=False, half_weights=True), list[int]()
    export_run(run, dataset, halves, statement, replace(quiet(), advance=advanced.append))

    folder, manifest, _, encoder = load(halves)
    parity = manifest.precisions["fp32"].parity
    assert parity is not None
    assert sum(advanced) == parity.n_images * statement.n_embedded  # the bar ends at its end
    whole = repository.folder("drawings", 1)
    for file in ("weights.safetensors", IMAGE_FILE, TEXT_FILE):
        assert (folder / file).stat().st_size < 0.8 * (whole / file).stat().st_size, file
    # The graphs hold what is large, and what is read is the whole model, its vectors and scale as trained.
    held = {
        "visual.layer2.0.conv2.weight",
        "token_embedding.weight",
        "transformer.resblocks.0.mlp.c_fc.weight",
    }
    assert not held & load_file(folder / "weights.safetensors").keys()
    kept, trained_weights = read_weights(folder / "weights.safetensors"), run.model.state_dict()
    assert kept.keys() == trained_weights.keys()
    for name, tensor in trained_weights.items():
        assert kept[name].equal(tensor.half() if tensor.ndim > 1 else tensor), name
    source_model = open_source_model(StartConfig(source=str(folder)), tmp_path, tmp_path)
    assert source_model is not None
    model = build_model(run.model_config)
    model.load_state_dict(source_model.weights(run.model_config))
    imported = load_own_bundle(folder, Choices()).model.state_dict()
    assert all(imported[name].equal(tensor) for name, tensor in model.state_dict().items())
    pixels = dataset.sources("validation")[0].images[:8]
    found = TorchEncoder(model.eval(), run.image_spec).encode_image(np.asarray(pixels))
    embedded = encoder.encode_image(np.asarray(pixels))
    np.testing.assert_allclose(embedded, found, atol=1e-3)
    trained = TorchEncoder(run.model, run.image_spec).encode_image(np.asarray(pixels))
    assert (embedded * trained).sum(axis=1).min() > 0.99999


def test_further_precisions_are_made_of_optimised_graphs_and_what_fails_is_said(
    run: TrainedRun, dataset: PackedDataset, tmp_path: Path
) -> None:
    repository, said = ModelRepository(tmp_path / "model_repo"), list[str]()
    statement = ExportOptions("drawings", precisions=("fp32", "int8", "fp16"))

    export_run(run, dataset, repository, statement, quiet(said))

    manifest = repository.verify("drawings", 1)
    left_out = [line.split()[0] for line in said if "NOT published" in line]
    assert {*manifest.precisions, *left_out} == {"fp32", "int8", "fp16"}
    assert "fp16" in manifest.precisions
    assert any("| int8 |" in " ".join(line.split()) for line in said)
    assert "optimised" in manifest.extra


def with_swapped_mean(run: TrainedRun, folder: Path) -> None:
    """The offset of a channel is -mean / std: the only weights of the graph that know the mean."""
    model = onnx.load(folder / IMAGE_FILE)
    (offset,) = [one for one in model.graph.initializer if one.name.endswith("offset")]
    std = np.array(run.image_spec.std)
    given = (onnx.numpy_helper.to_array(offset) * std)[::-1] / std
    offset.CopyFrom(onnx.numpy_helper.from_array(given.astype(np.float32), offset.name))
    onnx.save(model, folder / IMAGE_FILE)


def test_a_planted_fault_is_caught_by_gate_and_golden(
    run: TrainedRun,
    dataset: PackedDataset,
    repository: ModelRepository,
    tmp_path: Path,
) -> None:
    good, manifest, tokenizer, _ = load(repository)
    for file in (IMAGE_FILE, TEXT_FILE, "tokenizer.json"):
        (tmp_path / file).write_bytes((good / file).read_bytes())
    with_swapped_mean(run, tmp_path)
    reference = Reference(TorchEncoder(run.model, run.image_spec), run.image_spec, run.text_spec)

    proof = proof_on_dataset(tmp_path, reference, dataset, lambda _: None)
    parity = prove_parity(tmp_path, "fp32", proof, lambda _: None)
    with pytest.raises(ParityFailed, match="cosine_min is"):
        require_parity(parity, "fp32")
    encoder = OnnxEncoder(tmp_path / IMAGE_FILE, tmp_path / TEXT_FILE)
    with pytest.raises(GoldenMismatch):
        check_golden(read_golden(good / "golden.npz"), manifest, "fp32", tokenizer, encoder)


def test_an_ungated_export_is_published_and_says_so(tmp_path: Path) -> None:
    write_tiny_dataset(tmp_path / "data", n_icons=20)
    run_dir = write_tiny_run(tmp_path / "runs" / "tiny")
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    arguments = ["export", "--run", str(run_dir), "--name", "few", "--ungated"]
    folders = ["--data", str(tmp_path / "data"), "--model-repo", str(tmp_path / "model_repo")]

    assert command.run(parser.parse_args([*arguments, *folders])) == 0

    repository = ModelRepository(tmp_path / "model_repo")
    manifest = repository.verify("few", 1)
    assert manifest.ungated
    assert manifest.precisions["fp32"].parity is not None
    assert "--ungated" in (repository.folder("few", 1) / "MODEL_CARD.md").read_text()
