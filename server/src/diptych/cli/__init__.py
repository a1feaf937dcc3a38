"""The command line `diptych`: parses the arguments, runs one command, returns its exit status.

`commands` has one module for each command, `transfer` moves files, `output` prints, and `process` is the
server process. `arguments` and `remote` are what commands share. Read `commands.search` first.
"""

import argparse
import sys
from collections.abc import Sequence

from diptych import __version__
from diptych.argument_parser import Parser
from diptych.cli.commands import (
    add,
    backup,
    check,
    classify,
    collections,
    completion,
    delete,
    embed,
    jobs,
    keys,
    labels,
    libraries,
    models,
    restore,
    search,
    serve,
    vectors,
)
from diptych.cli.output.console import discard_output, err, replace_unencodable
from diptych.errors import DiptychError
from diptych_client import ClientError

_COMMANDS = (
    *(serve, keys, check, backup, restore),
    *(add, libraries, vectors, jobs, delete, search, classify, labels, embed, models, collections),
    completion,
)
INTERRUPTED = 130  # the status that shells report for Ctrl-C
READER_LEFT = 141  # the status that shells report when the reader of the output has gone, as in `| head`


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(prog="diptych", description="Image-text embeddings, labels and search.")
    parser.add_argument("--version", action="version", version=f"diptych {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 failed with one line on stderr, 2 wrong usage."""
    args = build_parser().parse_args(arguments)
    replace_unencodable()
    try:
        status = _run(args)
        sys.stdout.flush()  # notices here that the reader has gone, not when Python closes the stream
    except BrokenPipeError:
        discard_output()
        return READER_LEFT
    return status


def _run(args: argparse.Namespace) -> int:
    try:
        status: int = args.run(args)
    except (DiptychError, ClientError) as error:
        err(f"diptych: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status
