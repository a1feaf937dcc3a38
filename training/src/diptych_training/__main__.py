"""Entry point of `python -m diptych_training` and of the script `diptych-train`.

Worker processes of a run import this module again, so the commands are imported only inside `main`.
"""

import gc
import os
import sys

INTERRUPTED = 130  # exit code by shell convention: 128 + SIGINT


def main() -> int:
    """Run the command line. Ctrl-C during the imports prints one line, too."""
    # Threads that wait for each other must not spin: on a machine that others use too, torch is slower by ten
    # times. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from diptych_training.cli import main as run  # noqa: PLC0415  see above

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("diptych-train: interrupted\n")
        return INTERRUPTED
    finally:
        # At its end the interpreter would look for garbage among all objects of torch: a second or more, in
        # which an interrupted command seems to go on.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
