"""The walk of docs/models-and-rollouts.md from twenty pictures to changed answers of a server, at small size.

Its very commands are run, in a folder of the test and with fewer steps.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from diptych import cli as serving
from diptych.bundle.repository import ModelRepository
from diptych_training import cli as training
from diptych_training.refresh import example
from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.documents import ROOT
from support.server import serve

HEADING = "\n## Refresh a model with your own pictures\n"
# Two steps at the full rate lose more than 3, and may gain nothing.
FEWER_STEPS = ["--set", "run.steps=2", "--max-loss", "100", "--alpha", "0.5"]


def walk() -> list[list[str]]:
    """The commands of the walk, without what they print."""
    page = (ROOT / "docs" / "models-and-rollouts.md").read_text(encoding="utf-8")
    section = page.split(HEADING)[1].split("\n## ")[0]
    consoles = [part.split("```")[0] for part in section.split("```console\n")[1:]]
    lines = [line for console in consoles for line in console.splitlines()]
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_pictures_become_a_version_that_is_served_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw, teach, activate, add, search = walk()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    models = tmp_path / "model_repo"
    shutil.copytree(MODEL_REPO, models)

    assert example.main(draw[3:]) == 0
    assert len(list((tmp_path / "symbols").glob("*.png"))) == 20

    assert training.main([*teach[1:], *FEWER_STEPS]) == 0
    said = capsys.readouterr().out
    assert "20 pairs found, 20 usable" in said
    assert "each held out in one of 5 folds" in " ".join(said.split())
    assert f"mine/1 is published: {Path('model_repo') / 'mine' / '1'}" in said
    assert shlex.join([*activate, "1"]) in said
    assert "gate valve" in (tmp_path / "cache/runs/refresh/mine-1/report.html").read_text(encoding="utf-8")
    repository = ModelRepository(models)
    old = repository.manifest(DEFAULT_MODEL, repository.latest(DEFAULT_MODEL))
    new = repository.verify("mine", 1)
    assert set(new.precisions) == set(old.precisions)
    assert new.files["proof_set.npz"] == old.files["proof_set.npz"]

    with serve(models, DEFAULT_MODEL, tmp_path / "data") as server:
        monkeypatch.setenv("DIPTYCH_URL", server.url)
        assert serving.main(activate[1:]) == 0
        assert re.fullmatch(r"mine/1 in (fp32|int8) serves now\n", capsys.readouterr().out)
        assert serving.main(add[1:]) == 0
        assert "20 created" in capsys.readouterr().out
        assert serving.main(search[1:]) == 0
        assert capsys.readouterr().out.count(".png") == 4
