"""`python -m diptych_training`, and the script `diptych-train`.

Processes that are started beside a run import this module again, and have no use for the commands.
"""

import sys


def main() -> int:
    """Run the command line."""
    from diptych_training.cli import main as run  # noqa: PLC0415  see above

    return run()


if __name__ == "__main__":
    sys.exit(main())
