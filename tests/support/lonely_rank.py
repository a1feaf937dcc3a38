"""`diptych-train` in a process that waits for other ranks, which nobody starts.

python -m support.lonely_rank WORLD_SIZE ARGUMENTS...
"""

import os
import sys

from diptych_training.cli import main

if __name__ == "__main__":
    os.environ["WORLD_SIZE"] = sys.argv[1]
    sys.exit(main(sys.argv[2:]))
