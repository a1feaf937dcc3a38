"""The walk of docs/training-data.md from a folder of own pictures to a model that knows them, at small size.

Its very commands are run, with pictures that are drawn here, folders of the test and fewer steps.
"""

import shlex
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from diptych_training.config import read_config
from diptych_training.data.packed import read_dataset
from diptych_training.evaluate.proof_set.file import default_proof_set_file
from support.default_model import MODEL_REPO
from support.documents import ROOT

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta", "black", "gray", "orange", "brown")
CORNERS = {"circle": 0, "triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}
FEWER_STEPS = {"train": ["--set", "run.steps=2"]}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty pictures, each beside a text file of its name."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for shape, n_corners in CORNERS.items():
        for colour in COLOURS:
            image = Image.new("RGB", (60, 48), "white")
            draw = ImageDraw.Draw(image)
            if n_corners:
                draw.regular_polygon((30, 24, 20), n_corners, fill=colour)
            else:
                draw.ellipse((10, 4, 50, 44), fill=colour)
            image.save(folder / f"{colour}-{shape}.jpg")
            (folder / f"{colour}-{shape}.txt").write_text(f"a {colour} {shape} on my desk")
    return folder


def walk(home: Path) -> list[list[str]]:
    """The command lines of the walk, for this machine."""
    page = (ROOT / "docs" / "training-data.md").read_text(encoding="utf-8")
    block = (
        page.split("## From fifty pictures up, step by step\n")[1].split("```console\n")[1].split("```")[0]
    )
    places = {"photos": str(home / "photos"), "packed": str(home / "packed")}
    lines = [shlex.split(line.removeprefix("$ diptych-train ")) for line in block.splitlines()]
    return [[*(places.get(word, word) for word in line), *FEWER_STEPS.get(line[0], [])] for line in lines]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("photos")
def test_the_default_model_is_fine_tuned_on_sixty_images(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIPTYCH_MODEL_REPO", str(MODEL_REPO))
    pack, train, evaluate = walk(tmp_path)

    assert main(pack) == 0
    assert "at least 1,000 and 100 are needed" not in capsys.readouterr().err
    packed = read_dataset(tmp_path / "packed")
    assert sum(entry.n for entry in packed.entries.values()) == 60

    assert main(train) == 0
    captured = capsys.readouterr()
    assert "at least 1,000 and 100 are needed" not in captured.err
    assert "finished at step 2" in captured.out

    assert main(evaluate) == 0
    assert "own-pairs (start" in capsys.readouterr().out
    assert main(["evaluate", "--run", "own-pairs", "--data", str(tmp_path / "packed")]) == 1
    assert "choose another one with --split: validation" in capsys.readouterr().err

    run = tmp_path / "cache" / "runs" / "own-pairs"
    assert read_config(run / "config.toml").start is not None
    export = ["export", "--run", str(run), "--name", "mine", "--model-repo", str(tmp_path / "models")]
    assert main([*export, "--data", str(tmp_path / "packed")]) == 1
    assert "prove the export on another data set with `export --data DIR`" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()

    assert main([*export, "--precisions", "fp32", "--no-optimise"]) == 0
    assert not ModelRepository(tmp_path / "models").verify("mine", 1).ungated
    handed_on = tmp_path / "models" / "mine" / "1" / "proof_set.npz"
    assert handed_on.read_bytes() == default_proof_set_file(ModelRepository(MODEL_REPO)).read_bytes()
