"""The argument parser of both command lines: argparse with short error messages."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Prints what is wrong in the first line, where argparse first lists all flags.

    Subcommands do the same.
    """

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        reason = "".join(c if c.isprintable() else "\ufffd" for c in message)
        self.exit(2, f"{self.prog}: error: {reason}\nsee `{self.prog} --help`\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Report an unknown flag as an error of the subcommand that it was given to, not of the whole
        program.
        """
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown
