"""Graphs whose weights lie in a file beside them, as those over 2 GB must: verified and loaded alike."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError, CorruptBundle
from diptych.wiring.loading.bundles import verify_bundle
from diptych.wiring.precisions.trials import Trials
from support.app import running_app
from support.tiny_bundle import TINY, write_tiny_bundle

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


def test_server_answers_from_it(model_repo: Path) -> None:
    with running_app(model_repo.parent) as client:
        assert client.post("/embed", json={"input": [{"text": "red"}]}).status_code == 200


def test_changed_or_lost_data_file_is_named(model_repo: Path) -> None:
    data_file = model_repo / TINY / "1" / DATA_FILE
    changed = bytearray(data_file.read_bytes())
    changed[0] ^= 1
    data_file.write_bytes(changed)
    with pytest.raises(CorruptBundle, match=rf"{DATA_FILE}: sha256 is"):
        verify_bundle(ModelRepository(model_repo).folder(TINY, 1))
    data_file.unlink()
    with pytest.raises(CorruptBundle, match=rf"{DATA_FILE}: cannot be read"):
        verify_bundle(ModelRepository(model_repo).folder(TINY, 1))
    folder = data_file.parent
    with pytest.raises(BundleError, match=r"image_encoder\.onnx does not load"):
        OnnxEncoder(folder / "image_encoder.onnx", folder / "text_encoder.onnx", n_threads=1)


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
