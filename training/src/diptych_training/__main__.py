"""`python -m diptych_training`."""

import sys

from diptych_training.cli import main

if __name__ == "__main__":
    sys.exit(main())
