"""The module path of a Python that a test starts.

environment = os.environ | {"PYTHONPATH": python_path()}
"""

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def python_path(*folders: Path) -> str:
    """Return PYTHONPATH: first that of this process, so that a clone tests itself, `folders`, the tests."""
    own = [str(folder) for folder in (*folders, TESTS)]
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *own]))
