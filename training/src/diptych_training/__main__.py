"""`python -m diptych_training`, and the script `diptych-train`.

Processes that are started beside a run import this module again, and have no use for the commands.
"""

import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def main() -> int:
    """Run the command line. Ctrl-C while its parts are loaded is one line, too."""
    try:
        from diptych_training.cli import main as run  # noqa: PLC0415  see above

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("diptych-train: interrupted\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
