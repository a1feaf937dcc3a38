"""From pairs in a table to a version that the server proves: shards, run, evaluation, export."""

import json
import re
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from diptych_training.config import dump_config, read_config
from support.pair_files import write_tars
from support.tiny_run import write_tiny_run

pytestmark = pytest.mark.long  # 1,000 images through two runtimes


def test_a_model_of_pairs_is_trained_measured_proven_and_published(tmp_path: Path) -> None:
    pairs, shards, data = write_tars(tmp_path / "s", 3, 400), str(tmp_path / "shards"), str(tmp_path / "data")
    overrides = [
        "name=mine", "run.steps=4", "run.batch_size=16", "optim.warmup_steps=1", "run.best_by=['pairs_top1']",
        f"data.pairs.train='{shards}'", "data.pairs.workers=1",
    ]  # fmt: skip
    recipe = tmp_path / "mine.toml"
    recipe.write_text(dump_config(read_config(write_tiny_run(tmp_path / "tiny") / "config.toml", overrides)))
    splits = [word for split in ("train", "validation", "eval") for word in (f"--{split}", pairs)]
    run, models = str(tmp_path / "runs" / "mine"), str(tmp_path / "models")

    assert main(["data", "shards", pairs, "--out", shards, "--pairs-per-shard", "300"]) == 0
    assert main(["data", "pack", *splits, "--out", data, "--recipe", str(recipe), "--limit", "600"]) == 0
    assert main(["train", str(recipe), "--data", data, "--runs-dir", str(tmp_path / "runs")]) == 0
    assert main(["evaluate", "--run", run, "--data", data]) == 0
    said = [
        "--evaluation",
        f"{run}/evaluation-eval/evaluation.json",
        "--precisions",
        "fp32,int8",
        "--ungated",
    ]
    assert (
        main(["export", "--run", run, "--name", "mine", "--data", data, "--model-repo", models, *said]) == 0
    )

    manifest = ModelRepository(Path(models)).manifest("mine", 1)
    assert manifest.licence == "unknown"
    assert set(manifest.precisions) == {"fp32", "int8"}
    assert manifest.metrics["eval"]["pairs"]["n_sources"] == 1
    folder = ModelRepository(Path(models)).folder("mine", 1)
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"on the pairs of `{shards}`" in card
    assert "Image-text pairs:" in card
    assert re.search(r"\| pairs-validation +\| validation +\| pairs +\| +600 \|", card)
    assert "$" not in card
    assert "600" in (folder / "DATA_CARD.md").read_text()
    assert json.loads((folder / "manifest.json").read_text())["source"]["dataset"] == "data"
