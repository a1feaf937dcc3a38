"""The newest servable version is served; versions that cannot be served are skipped with the reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych.errors import DiptychError
from diptych.settings import Settings
from diptych.wiring.services import build
from support.app import FIXED_PLAN, running_app
from support.tiny_bundle import TINY, write_tiny_bundle


def ungated(repo: Path) -> None:
    write_tiny_bundle(repo, ungated=True)


def other_vectors(repo: Path) -> None:
    write_tiny_bundle(repo, precisions={"fp32": "broken"})


def changed_byte(repo: Path) -> None:
    graph = repo / TINY / str(write_tiny_bundle(repo)) / "image_encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")


def lost_file(repo: Path) -> None:
    (repo / TINY / str(write_tiny_bundle(repo)) / "tokenizer.json").unlink()


def no_manifest(repo: Path) -> None:
    (repo / TINY / str(write_tiny_bundle(repo)) / "manifest.json").write_text("{")


def newer_schema(repo: Path) -> None:
    manifest = repo / TINY / str(write_tiny_bundle(repo)) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))


BAD = [
    pytest.param(ungated, "it was built ungated, its parity is unknown: see --allow-ungated", id="ungated"),
    pytest.param(other_vectors, "fp32: golden image", id="golden mismatch"),
    pytest.param(changed_byte, "image_encoder.onnx: sha256 is", id="changed byte"),
    pytest.param(lost_file, "tokenizer.json: cannot be read", id="lost file"),
    pytest.param(no_manifest, "manifest.json: not JSON", id="no manifest"),
    pytest.param(newer_schema, "schema_version 99 is newer than", id="newer schema"),
]


@pytest.mark.parametrize(("publish", "why"), BAD)
def test_new_data_folder_serves_the_newest_servable_version(
    publish: Callable[[Path], None], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo)
    publish(repo)
    with running_app(tmp_path) as client:
        (model,) = client.get("/models").json()["models"]
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning.startswith(f"{TINY}/2 is ignored, {TINY}/1 is served instead: ")
    assert why in warning
    (ignored,) = model["ignored"]
    assert (model["active"], ignored["version"]) == (1, 2)
    assert why in ignored["reason"]


@pytest.mark.parametrize(("publish", "why"), BAD)
def test_requested_version_that_cannot_be_served_is_an_error_with_the_reason(
    publish: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    write_tiny_bundle(tmp_path / "repo")
    publish(tmp_path / "repo")
    given = {"model_repo": tmp_path / "repo", "model": TINY, "data_dir": tmp_path / "data", "version": 2}
    with pytest.raises(DiptychError) as raised:
        build(Settings(**given, **FIXED_PLAN))
    assert why in str(raised.value)


def test_repository_without_a_servable_version_is_an_error_that_names_each(tmp_path: Path) -> None:
    for publish in (ungated, changed_byte, other_vectors, newer_schema):
        publish(tmp_path / "repo")
    given = {"model_repo": tmp_path / "repo", "model": TINY, "data_dir": tmp_path / "data"}
    with pytest.raises(DiptychError) as raised:
        build(Settings(**given, **FIXED_PLAN))
    said = str(raised.value).split("; tiny/")
    for reason, version, why in zip(
        said,
        (4, 3, 2, 1),
        ("schema_version 99", "fp32: golden image", "sha256 is", "--allow-ungated"),
        strict=True,
    ):
        assert f"{version} cannot be served here: " in reason
        assert why in reason


def test_ungated_version_is_served_if_allowed(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo")
    ungated(tmp_path / "model_repo")
    with running_app(tmp_path, allow_ungated=True) as client:
        (model,) = client.get("/models").json()["models"]
    assert (model["active"], model["ignored"]) == (2, [])
