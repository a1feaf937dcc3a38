"""The command that compares what an image and a text cost."""

import sys
from pathlib import Path

import pytest

from benchmarks import encoder_rates
from support.tiny_bundle import TINY, write_tiny_bundle


def test_each_precision_of_a_bundle_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path)
    monkeypatch.setattr(sys, "argv", ["encoder_rates", TINY, "--model-repo", str(tmp_path)])
    encoder_rates.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [f"| `{TINY}` 1, fp32"]
    assert len([float(cell.strip(" |")) for cell in rows[0].split(" | ")[1:]]) == 2
