"""`diptych completion`: print a script that lets a shell complete commands, flags and files."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from diptych.cli.output.shell_completion import bash_script, fish_script, zsh_script

SCRIPTS: dict[str, Callable[[argparse.Action], str]] = {
    "bash": bash_script,
    "zsh": zsh_script,
    "fish": fish_script,
}


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a script that completes commands, flags and files. "
        'bash: `eval "$(diptych completion bash)"` in ~/.bashrc. zsh: the same with zsh, in ~/.zshrc after '
        "compinit. fish: `diptych completion fish > ~/.config/fish/completions/diptych.fish`.",
    )
    parser.add_argument("shell", choices=SCRIPTS, help="the shell")
    parser.set_defaults(run=run, commands=subparsers)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    sys.stdout.write(SCRIPTS[args.shell](args.commands))
    return 0
