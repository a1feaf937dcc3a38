"""The walk of docs/labels.md from zero-shot to a model of one's own, with a tiny model and fewer pictures."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from diptych import cli as serving
from diptych_client import Client
from diptych_training import cli as training
from diptych_training.refresh import example
from support.documents import ROOT
from support.server import serve

pytestmark = pytest.mark.usefixtures("few_emoji")

HEADING, PORT_OF_PAGE = "\n## From zero-shot to your own model\n", "http://127.0.0.1:8000"
KEY, N_PICTURES, N_REVIEWED = "a key of tests", 64, 40
FEWER = {"300": str(N_PICTURES), "60": str(N_REVIEWED)}
FEWER_STEPS = ["--from", "tiny", "--set", "run.steps=4", "--max-loss", "100"]


def walk() -> list[str]:
    """The commands of the walk, without those of the server's terminal."""
    page = (ROOT / "docs" / "labels.md").read_text(encoding="utf-8")
    section = page.split(HEADING)[1].split("\n## ")[0]
    consoles = [part.split("```")[0] for part in section.split("```console\n")[1:]]
    lines = [line.removeprefix("$ ") for console in consoles for line in console.splitlines()]
    return [line for line in lines if not line.startswith(("export ", ".venv/bin/diptych serve "))]


def carry_out(line: str, url: str) -> int:
    """Run a command of the walk in this process, at small size."""
    program, *words = (FEWER.get(word, word).replace(PORT_OF_PAGE, url) for word in shlex.split(line))
    if Path(program).name == "python":
        return example.main(words[2:])
    if Path(program).name == "diptych-train":
        return training.main([*words, *FEWER_STEPS])
    return serving.main(words)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_drawn_pictures_are_reviewed_taught_and_labelled_anew(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIPTYCH_API_KEY", KEY)
    for repository in ("model_repo", "served"):
        shutil.copytree(published, tmp_path / repository)
    environment = {"DIPTYCH_API_KEY": KEY}
    with serve(tmp_path / "served", "tiny", tmp_path / "data", environment=environment) as server:
        monkeypatch.setenv("DIPTYCH_URL", server.url)
        said = []
        for line in walk():
            command, _, pipe = line.partition(" | ")
            assert carry_out(command, server.url) == 0
            said.append(capsys.readouterr().out)
            if pipe:
                subprocess.run(["bash", "-c", pipe], input=said[-1], text=True, check=True)
        with Client(server.url, KEY) as client:
            report = client.label_set("symbols", "kind")
            images = client.labelled_images("symbols", "kind", limit=N_PICTURES).images

    _, _, _, before, _, imported, refreshed, after = said
    assert f"{N_PICTURES} images by tiny/1 (fp32), 0 reviewed" in before
    assert f"kind: {N_REVIEWED} stored" in imported
    assert f"{N_REVIEWED} reviewed, {N_REVIEWED} to learn from\n" in refreshed
    assert f"{N_PICTURES} images by mine/1 (fp32), {N_REVIEWED} reviewed: the model agrees on" in after
    assert report.agreement.n == N_REVIEWED
    assert report.accuracy.n == N_REVIEWED // 5
    assert {image.by for image in images} == {"model", "person"}
    assert all(image.labels[0].replace(" ", "-") in image.id for image in images if image.by == "person")
