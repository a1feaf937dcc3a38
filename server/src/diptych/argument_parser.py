"""The argument parser of both command lines: argparse with short error messages that say what was meant."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

# Finds PORT for PROT. Lower, it would take IMAGE for IMAGE_URLS.
_MIN_SIMILARITY = 0.75
_MAX_SHOWN = 10


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, if one is alike. Case, `-` and `_` are ignored."""
    by_letters = {_letters(one): one for one in known}
    found = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=_MIN_SIMILARITY)
    return by_letters[found[0]] if found else None


def name_hint(name: str, known: Sequence[str]) -> str:
    """Say what may be given in place of an unknown name: the nearest known one, or else the first ones."""
    if (meant := nearest_name(name, known)) is not None:
        return f"did you mean {meant!r}?"
    more = f" and {len(known) - _MAX_SHOWN} more" if len(known) > _MAX_SHOWN else ""
    return f"there {'are' if len(known) > 1 else 'is'}: {', '.join(known[:_MAX_SHOWN]) or 'none'}{more}"


def _letters(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


class Parser(argparse.ArgumentParser):
    """Prints what is wrong in the first line, where argparse first lists all flags.

    Flags must be written out: argparse alone takes `--labels` for `--labels-file`. Subcommands do the same.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        reason = "".join(c if c.isprintable() else "\ufffd" for c in message)
        self.exit(2, f"{self.prog}: error: {reason}\nsee `{self.prog} --help`\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Report an unknown flag as an error of the subcommand that it was given to, not of the whole
        program, and before errors of what follows it.
        """
        words = list(sys.argv[1:] if args is None else args)
        if self._subparsers is None and (
            flags := [word for word in words if self._is_unknown_flag(word, words)]
        ):
            self.error(f"unrecognized arguments: {' '.join(flags)}{self._flag_hint(flags[0])}")
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._flag_hint(unknown[0])}")
        return known, unknown

    def _is_unknown_flag(self, word: str, words: Sequence[str]) -> bool:
        """Whether argparse takes the word for a flag, which this command does not have."""
        is_flag = word[:2] == "--" and len(word) > 2 and " " not in word
        is_value = "--" in words and words.index("--") < words.index(word)
        return is_flag and not is_value and word.partition("=")[0] not in self._option_string_actions

    def _flag_hint(self, word: str) -> str:
        """Name the flags that begin with an unknown one, or else the one that is most like it."""
        flag, flags = (
            word.partition("=")[0],
            [flag for flag in self._option_string_actions if flag[:2] == "--"],
        )
        if flag[:2] != "--":
            return ""
        meant = " or ".join(known for known in flags if known.startswith(flag)) or nearest_name(flag, flags)
        return f", did you mean {meant}?" if meant else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the choice that was probably meant, in place of all choices."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError:
            meant = nearest_name(str(value), map(str, action.choices or ()))
            if meant is None:
                raise
            raise argparse.ArgumentError(
                action, f"invalid choice: {value!r}, did you mean {meant!r}?"
            ) from None
