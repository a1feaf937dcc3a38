"""The server starts without torch, even where torch is installed."""

import subprocess
import sys

import pytest

SERVER_MODULES = ["diptych.cli", "diptych.wiring", "diptych.http.app", "diptych.__main__"]


@pytest.mark.parametrize("module", SERVER_MODULES)
def test_importing_the_server_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules, 'diptych_training' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
