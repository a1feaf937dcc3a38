"""The server starts without torch, even where torch is installed."""

import subprocess
import sys

SERVER_MODULES = ["diptych.cli", "diptych.wiring.services", "diptych.http.app", "diptych.__main__"]
PROGRAM = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name, *(foreign for foreign in ("torch", "diptych_training") if foreign in sys.modules))
"""


def test_importing_the_server_does_not_import_torch() -> None:
    """In one process, one after the other: the first that brings it is the first line with a name more."""
    run = [sys.executable, "-c", PROGRAM, *SERVER_MODULES]
    answer = subprocess.run(run, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == SERVER_MODULES
