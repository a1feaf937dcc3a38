"""`python -m diptych` and the `diptych` command."""

import sys

from diptych.cli import main

if __name__ == "__main__":
    sys.exit(main())
