"""The default model in int8, on whatever processor the tests run."""

from pathlib import Path

import pytest

from diptych.__main__ import main

MODEL_REPO = Path(__file__).parents[2] / "model_repo"


def test_default_model_passes_its_golden_check_in_every_precision(capsys: pytest.CaptureFixture[str]) -> None:
    """Its int8 weights have 8 bits: processors without VNNI need the runtime's exact products for them."""
    assert main(["check", "pictograms", "--model-repo", str(MODEL_REPO)]) == 0
    assert "sound   fp32, int8" in capsys.readouterr().out
