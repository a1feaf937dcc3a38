"""A ViT in Hugging Face's layout is imported and refreshed, judged on the default model's pairs."""

import shutil
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from diptych_training.evaluate.proof_set.file import read_proof_set_file
from diptych_training.evaluate.proof_set.proof_set import PROOF, REHEARSAL
from diptych_training.refresh.example import draw_example
from support.default_model import DEFAULT_MODEL, MODEL_REPO, default_bundle
from support.tiny_run import TINY_VIT, write_tiny_run

pytestmark = pytest.mark.long

SHORT = ("run.steps=4", "run.checkpoint_every=2", "run.batch_size=8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-five pictures, and a repository with `theirs/1`, imported by few images, and the default."""
    home = tmp_path_factory.mktemp("home")
    draw_example(home / "pictures", 25, seed=1)
    shutil.copytree(MODEL_REPO / DEFAULT_MODEL, home / "repo" / DEFAULT_MODEL)
    write_tiny_run(home / "tiny", TINY_VIT)
    assert main(["weights", str(home / "tiny"), "--layout", "hugging_face", "--out", str(home / "clip")]) == 0
    few = ["--ungated", "--proof-images", "20", "--no-optimise", "--precisions", "fp32,fp16"]
    repository = ["--model-repo", str(home / "repo")]
    assert main(["import", str(home / "clip"), "--name", "theirs", *few, *repository]) == 0
    return home


def test_an_imported_vit_learns_pictures_and_keeps_its_precisions(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(home / "cache"))
    monkeypatch.setenv("DIPTYCH_DATA", str(home / "nowhere"))
    changes = [part for change in SHORT for part in ("--set", change)]
    places = ["--model-repo", str(home / "repo"), "--runs-dir", str(home / "runs")]
    refresh = ["refresh", str(home / "pictures"), "--from", "theirs", "--name", "mine", "--max-loss", "100"]
    refresh += ["--hold-out", "0"]

    assert main([*refresh, *changes, *places, "--data", str(home / "nowhere")]) == 0

    repository = ModelRepository(home / "repo")
    manifest = repository.verify("mine", 1)
    assert set(manifest.precisions) == {"fp32", "fp16"}
    assert not manifest.ungated
    assert manifest.source["started_from"] == "theirs/1"
    shipped = default_bundle() / "proof_set.npz"
    n_of = dict.fromkeys((PROOF, REHEARSAL), 0)
    for source in read_proof_set_file(shipped).sources:
        n_of[source.split] += len(source.items)
    assert manifest.metrics["refresh"]["shipped"]["n_images"] == n_of[PROOF]
    assert (repository.folder("mine", 1) / "proof_set.npz").read_bytes() == shipped.read_bytes()
    recipe = (home / "runs" / "refresh" / "mine-1" / "recipe.toml").read_text()
    assert f"pairs shipped with the model: {n_of[REHEARSAL]} pairs" in recipe
    assert "[lora]" in recipe
    assert "mine starts from theirs/1" in capsys.readouterr().out
