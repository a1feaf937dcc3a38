"""The default model in int8, on whatever processor the tests run."""

import pytest

from diptych.__main__ import main
from support.default_model import DEFAULT_MODEL, MODEL_REPO


def test_default_model_passes_its_golden_check_in_every_precision(capsys: pytest.CaptureFixture[str]) -> None:
    """Its int8 weights have 8 bits: processors without VNNI need the runtime's exact products for them."""
    assert main(["check", DEFAULT_MODEL, "--model-repo", str(MODEL_REPO)]) == 0
    assert "sound   fp32, int8" in capsys.readouterr().out
