"""A proof set on its way: from a data set into a bundle, into a run, and into the bundle of that run."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.bundle.golden import read_golden
from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from diptych_training.data.packed import PackedDataset, Split, read_dataset
from diptych_training.evaluate.proof_set.file import read_proof_set
from support.default_model import DEFAULT_MODEL
from support.tiny_run import IMAGE_SIZE, write_shareable_dataset, write_tiny_dataset, write_tiny_run

pytestmark = pytest.mark.usefixtures("few_emoji")

RECIPE = """
name = "mine"
start = "drawings/1"

[data]
mixture = {icons = 1.0}

[optim]
warmup_steps = 1

[run]
steps = 2
batch_size = 8
precision = "fp32"
best_by = ["icons_top1"]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on openly licensed drawings, exported as `drawings/1`, and a data set too small to prove it."""
    home = tmp_path_factory.mktemp("home")
    write_shareable_dataset(home / "drawings")
    write_tiny_dataset(home / "few", n_icons=20)
    write_tiny_run(home / "runs" / "tiny")
    assert (
        export(home, "drawings", "--run", str(home / "runs" / "tiny"), "--data", str(home / "drawings")) == 0
    )
    return home


def export(home: Path, name: str, *flags: str) -> int:
    return main(["export", "--name", name, "--model-repo", str(home / "repo"), "--no-optimise", *flags])


def bundle(home: Path, name: str, version: int) -> Path:
    return home / "repo" / name / str(version)


def test_a_run_brings_the_set_of_its_start_and_is_proven_on_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "mine.toml").write_text(RECIPE)
    places = ["--model-repo", str(home / "repo"), "--runs-dir", str(home / "runs")]
    assert main(["train", str(home / "mine.toml"), "--data", str(home / "few"), *places]) == 0
    assert "at least 1,000" not in capsys.readouterr().err
    moved = shutil.move(bundle(home, "drawings", 1), home / "gone")

    try:
        assert export(home, "mine", "--run", str(home / "runs" / "mine")) == 0
    finally:
        shutil.move(moved, bundle(home, "drawings", 1))

    made = bundle(home, "mine", 1)
    handed_on = (made / "proof_set.npz").read_bytes()
    assert handed_on == (bundle(home, "drawings", 1) / "proof_set.npz").read_bytes()
    manifest = ModelRepository(home / "repo").verify("mine", 1)
    parity = manifest.precisions["fp32"].parity
    assert parity is not None
    assert parity.n_images == 1_000
    assert manifest.source["proven_on"] == "tiny-drawings-proof"
    assert (made / "DATA_CARD.md").read_text().startswith("# Proof set of tiny-drawings")
    assert "| choice-set" in (made / "MODEL_CARD.md").read_text()


def test_golden_items_are_of_the_set_and_never_of_the_users_pictures(home: Path) -> None:
    shutil.copytree(bundle(home, "drawings", 1), home / "own" / DEFAULT_MODEL / "1")
    flags = ["--run", str(home / "runs" / "tiny"), "--data", str(home / "few"), "--ungated", "--no-optimise"]

    assert main(["export", "--name", "mine", "--model-repo", str(home / "own"), *flags]) == 0

    golden = read_golden(home / "own" / "mine" / "1" / "golden.npz")
    proof_set = read_proof_set(home / "own" / "mine" / "1")
    assert proof_set is not None
    shared = pixels_of(proof_set.unpack(home / "unpacked", IMAGE_SIZE), "validation")
    shown = {np.asarray(Image.open(io.BytesIO(golden.image_files[index]))).tobytes() for index in (0, 9)}
    assert shown <= shared
    assert shown.isdisjoint(
        pixels_of(read_dataset(home / "few"), "validation") | pixels_of(read_dataset(home / "few"), "eval")
    )


def pixels_of(dataset: PackedDataset, split: Split) -> set[bytes]:
    return {np.asarray(image).tobytes() for source in dataset.sources(split) for image in source.images}


def test_a_damaged_set_of_the_start_is_named_before_training(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home / "repo", tmp_path / "repo")
    (bundle(tmp_path, "drawings", 1) / "proof_set.npz").write_bytes(b"damaged")
    (home / "mine.toml").write_text(RECIPE)

    places = ["--model-repo", str(tmp_path / "repo"), "--runs-dir", str(tmp_path / "runs")]
    assert main(["train", str(home / "mine.toml"), "--data", str(home / "few"), *places]) == 1
    assert "drawings/1/proof_set.npz: not a proof set" in capsys.readouterr().err


def test_a_version_is_published_again_with_a_proof_set(home: Path, tmp_path: Path) -> None:
    before = tmp_path / "repo" / "old" / "1"
    shutil.copytree(bundle(home, "drawings", 1), before)
    (before / "proof_set.npz").unlink()
    manifest = json.loads((before / "manifest.json").read_text())
    del manifest["files"]["proof_set.npz"]
    (before / "manifest.json").write_text(json.dumps(manifest | {"name": "old", "extra": {"note": 1}}))
    digest = hashlib.sha256((before / "manifest.json").read_bytes()).hexdigest()
    flags = ["--from-version", "1", "--add-proof-set", "--data", str(home / "drawings")]

    assert export(tmp_path, "old", *flags) == 0

    after = before.parent / "2"
    kept = {file.name for file in before.iterdir()} - {"manifest.json"}
    assert {file.name for file in after.iterdir()} == kept | {"proof_set.npz", "manifest.json"}
    assert all((after / name).read_bytes() == (before / name).read_bytes() for name in kept)
    new = ModelRepository(tmp_path / "repo").verify("old", 2)
    assert new.extra == {"note": 1, "made_from": {"version": "old/1", "manifest_sha256": digest}}
    assert (after / "proof_set.npz").read_bytes() == (
        bundle(home, "drawings", 1) / "proof_set.npz"
    ).read_bytes()
