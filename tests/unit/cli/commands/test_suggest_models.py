"""`diptych models suggest`: checkpoints to import, each with its command, without a server."""

import pytest

from diptych.cli import main

SIGLIP_2 = "timm/ViT-B-32-SigLIP2-256"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_URL", "http://127.0.0.1:9")


def test_each_checkpoint_has_a_row_and_a_command(capsys: Capture) -> None:
    assert main(["models", "suggest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith(SIGLIP_2))
    assert row.split()[1:] == ["73.2", "11.5", "377", "256", "768", "109", "Apache-2.0"]
    sources = [line.split()[0] for line in lines[1 : lines.index("")] if "/" in line.split()[0]]
    for source in sources:
        assert sum(f"make serve-hub SOURCE={source} NAME=" in line for line in lines) == 1
