"""Ctrl-C during the imports of `diptych-train`, which take a second or more."""

import subprocess
import sys

HOOK = """
import importlib.abc, runpy, signal, sys

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["diptych-train", "--version"]
runpy.run_module("diptych_training", run_name="__main__")
"""


def test_ctrl_c_during_the_imports_prints_one_line():
    ended = subprocess.run([sys.executable, "-c", HOOK], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "diptych-train: interrupted\n")
