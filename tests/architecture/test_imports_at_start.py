"""What the server and the command line must not import, even where it is installed."""

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
    """One process imports the modules in turn. The first one that brings torch has the first longer line."""
    run = [sys.executable, "-c", PROGRAM, *SERVER_MODULES]
    answer = subprocess.run(run, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == SERVER_MODULES


def test_commands_start_without_a_model_runtime() -> None:
    """The parser imports every command. Only serve and check load onnxruntime and FAISS when they run."""
    code = "import sys, diptych.cli; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"onnxruntime", "faiss", "psycopg", "obstore", "pyarrow", "tensorrt", "fastapi"} & set(
        answer.stdout.split()
    )
