"""Runs `diptych-train` and notes the most memory that it had.

python diptych_run.py REPORT.json [arguments of diptych-train]
"""

import json
import resource
import sys
from pathlib import Path

from diptych_training.cli import main

if __name__ == "__main__":
    code = main(sys.argv[2:])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    Path(sys.argv[1]).write_text(json.dumps({"peak_mb": peak_mb}), encoding="utf-8")
    sys.exit(code)
