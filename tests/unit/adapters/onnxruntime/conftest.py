"""The fixture that tests of runs on a GPU share."""

import pytest

from support.fake_onnxruntime import FakeCuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Install a fake GPU for one test."""
    return FakeCuda().install(monkeypatch)
