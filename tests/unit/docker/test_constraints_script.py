"""Constraints from `pip freeze --all`: requirements that are the same on every machine."""

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "support" / "constraints.sh"
FROZEN = """\
torch==2.13.0+cpu
pip==26.0
setuptools==84.2.1
nvidia-cublas==13.1.1.3
cloudpickle==3.1.3
wheel==0.50
-e /somewhere/diptych
"""


def test_requirements_are_pinned_unless_they_differ_by_machine() -> None:
    done = subprocess.run([SCRIPT], input=FROZEN, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert lines == ["cloudpickle==3.1.3", "setuptools==84.2.1"]
