"""argparse with short complaints, for both command lines. Knows no command."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong in its first line, where argparse lists all flags first. So do its subcommands."""

    def error(self, message: str) -> NoReturn:
        """End with 2."""
        reason = "".join(c if c.isprintable() else "\ufffd" for c in message)
        self.exit(2, f"{self.prog}: error: {reason}\nsee `{self.prog} --help`\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """An unknown flag is an error of the command that it was given to, not of the whole program."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown
