"""The TensorRT section of a manifest, and the values that it rejects."""

import json

import pytest
from pydantic import ValidationError

from diptych.bundle.manifest import TensorrtBuild, read_manifest
from diptych.bundle.repository import ModelRepository
from diptych.bundle.tensorrt_build import Extent, Profile
from diptych.errors import InvalidManifest, NotFound
from unit.bundle.bundle_examples import draft, text_spec

FILES = ("tokenizer.json", "golden.npz", "image_encoder.onnx", "text_encoder.onnx")


def extent(text: str) -> Extent:
    low, usual, high = map(int, text.split(":"))
    return Extent(min=low, opt=usual, max=high)


def build(**changes: object) -> TensorrtBuild:
    values = {
        "gpu": "NVIDIA H100",
        "compute_capability": "9.0",
        "version": "10.16.1.11",
        "image_profiles": [Profile(batch=extent("1:8:64"))],
        "text_profiles": [Profile(batch=extent("1:8:64"), length=extent("2:4:8"))],
    }
    return TensorrtBuild(**{**values, **changes})


def publish(repository: ModelRepository, **changes: object) -> int:
    with repository.staging("mine") as folder:
        for file in FILES:
            (folder / file).write_bytes(b"x")
        return repository.publish("mine", folder, draft(**changes))


def test_version_says_the_lowest_schema_that_has_its_keys(tmp_path):
    repository = ModelRepository(tmp_path)
    publish(repository)
    publish(repository, tensorrt=build())
    plain, built = (json.loads((tmp_path / "mine" / n / "manifest.json").read_text()) for n in "12")
    assert (plain["schema_version"], "tensorrt" in plain) == (1, False)
    assert (built["schema_version"], built["tensorrt"]["gpu"]) == (2, "NVIDIA H100")
    assert repository.manifest("mine", 1).tensorrt is None
    assert repository.manifest("mine", 2).tensorrt == build()


def test_schema_1_has_no_such_key(tmp_path):
    publish(ModelRepository(tmp_path), tensorrt=build())
    file = tmp_path / "mine" / "1" / "manifest.json"
    file.write_text(file.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(InvalidManifest, match="tensorrt: unknown key in schema_version 1"):
        read_manifest(file.parent)


def test_latest_portable_version_is_the_newest_that_tensorrt_did_not_build(tmp_path):
    repository = ModelRepository(tmp_path)
    publish(repository, tensorrt=build())
    with pytest.raises(NotFound, match="has only versions that TensorRT built"):
        repository.latest_portable("mine")
    publish(repository)
    publish(repository, tensorrt=build())
    assert (repository.latest("mine"), repository.latest_portable("mine")) == (3, 2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"gpu": ""}, "gpu"),
        ({"compute_capability": "9"}, "compute_capability"),
        ({"version": "latest"}, "version"),
        ({"image_profiles": []}, "image_profiles"),
        ({"text_profiles": [Profile(batch=extent("1:1:1"))]}, "text_profiles need a length each"),
        (
            {"image_profiles": [Profile(batch=extent("1:1:1"), length=extent("2:2:2"))]},
            "image_profiles have no length",
        ),
    ],
)
def test_what_names_no_device_or_profile_is_refused(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        build(**changes)


@pytest.mark.parametrize("text", ["2:1:3", "1:4:3", "0:1:1"])
def test_sizes_of_a_dimension_are_in_order(text):
    with pytest.raises(ValidationError):
        extent(text)


def batches(*texts: str) -> list[Profile]:
    return [Profile(batch=extent(text)) for text in texts]


def texts(*pairs: tuple[str, str]) -> list[Profile]:
    return [Profile(batch=extent(batch), length=extent(length)) for batch, length in pairs]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"image_profiles": batches("2:4:8")}, "image_profiles have no profile for a batch of 1"),
        ({"image_profiles": batches("1:1:2", "4:8:16")}, "image_profiles have no profile for a batch of 3"),
        (
            {"text_profiles": texts(("1:1:8", "2:2:7"))},
            "text_profiles, for 8 tokens, have no profile for a batch of 1",
        ),
        (
            {"text_profiles": texts(("1:1:8", "3:3:8"))},
            "text_profiles, for 2 tokens, have no profile for a batch of 1",
        ),
        (
            {"text_profiles": texts(("1:1:2", "2:2:8"), ("4:4:8", "2:2:4"))},
            "text_profiles, for 2 tokens, have no profile for a batch of 3",
        ),
    ],
)
def test_profiles_that_leave_out_a_shape_that_may_come_are_refused(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        draft(tensorrt=build(**changes))


def test_profiles_may_share_shapes_out_between_them():
    several = texts(("1:1:1", "2:4:8"), ("2:8:64", "2:4:5"), ("2:8:32", "6:8:8"))
    assert draft(tensorrt=build(image_profiles=batches("1:1:3", "2:8:9"), text_profiles=several)).tensorrt


def test_full_length_is_all_that_is_asked_of_texts_that_are_padded_to_it():
    padded = {"text": text_spec(pad_to="context_length")}
    draft(**padded, tensorrt=build(text_profiles=texts(("1:1:8", "8:8:8"))))
    with pytest.raises(ValidationError, match="for 8 tokens"):
        draft(**padded, tensorrt=build(text_profiles=texts(("1:1:8", "2:2:7"))))
