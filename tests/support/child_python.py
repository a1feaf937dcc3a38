"""Where a Python that a test starts finds its modules: knows nothing of what it runs.

environment = os.environ | {"PYTHONPATH": python_path()}
"""

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def python_path(*folders: Path) -> str:
    """What this process was told, in front, so that a clone tests itself; then `folders`, and the tests."""
    own = [str(folder) for folder in (*folders, TESTS)]
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *own]))
