"""Manifests of earlier releases."""

import json

import pytest

from diptych.bundle.manifest import read_manifest
from diptych.bundle.repository import ModelRepository
from diptych.errors import InvalidManifest
from unit.bundle.bundle_examples import draft

FILES = ("tokenizer.json", "golden.npz", "image_encoder.onnx", "text_encoder.onnx")


def test_version_with_tensorrt_plans_is_refused_with_what_to_do(tmp_path):
    repository = ModelRepository(tmp_path)
    with repository.staging("mine") as folder:
        for file in FILES:
            (folder / file).write_bytes(b"x")
        repository.publish("mine", folder, draft())
    file = tmp_path / "mine" / "1" / "manifest.json"
    stated = json.loads(file.read_text()) | {"schema_version": 2}
    file.write_text(json.dumps(stated))
    assert read_manifest(file.parent).schema_version == 2
    file.write_text(json.dumps(stated | {"tensorrt": {"gpu": "NVIDIA H100"}}))
    with pytest.raises(InvalidManifest, match=r"mine/1/manifest.json: .* TensorRT plans.* with --tensorrt"):
        read_manifest(file.parent)
