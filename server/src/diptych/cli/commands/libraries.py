"""`diptych libraries`: list and scan folders of pictures that the server reads where they are."""

import argparse
import time
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from diptych.cli.arguments import add_server_arguments
from diptych.cli.output.console import Align, cell, err, out, out_json, out_table
from diptych.cli.remote import run_with_client
from diptych_client import Client, Library

POLL_S = 0.5


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command and of its verbs."""
    parser = subparsers.add_parser(
        "libraries",
        help="list and scan folders of pictures that stay where they are",
        description="List and scan libraries: folders of pictures that stay where they are. The server "
        "follows those that it was started with, by --library NAME=FOLDER; the collection NAME has their "
        "pictures.",
    )
    verbs = parser.add_subparsers(required=True, metavar="list|scan")
    listing = verbs.add_parser("list", help="list all libraries", description="List all libraries.")
    scan = verbs.add_parser(
        "scan",
        help="look for changes now, and wait for the end",
        description="Look for changes in a library now, read again what was no picture, accept that most "
        "pictures are gone, or a disk, and wait for the end. Changes are noticed without it, after some "
        "seconds. Exit code 1 when the library cannot be scanned.",
    )
    scan.add_argument("name", metavar="NAME", help="the library")
    scan.add_argument(
        "--restore-deleted",
        action="store_true",
        help="add pictures again that were deleted from the collection, and whose files are there",
    )
    for verb, action in ((listing, _list), (scan, _scan)):
        add_server_arguments(verb)
        verb.set_defaults(run=run, action=action)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, args.action)


def _list(args: argparse.Namespace, client: Client) -> int:
    found = client.libraries()
    if args.json:
        out_json([asdict(library) for library in found])
        return 0
    header = ["name", "state", "read", "files", "missing", "problems", "scanned"]
    align: list[Align] = ["left", "left", "right", "right", "right", "right", "left"]
    out_table(header, [_row(library) for library in found], align)
    for library in found:
        if library.reason:
            out(f"{library.name} waits: {library.reason}")
    return 0


def _row(library: Library) -> list[str]:
    read = f"{library.n_read}/{library.n_to_read}" if library.n_to_read else ""
    counts = map(str, (library.n_files, library.n_missing, library.n_problems))
    return [library.name, library.state, read, *counts, library.scanned_at or "never"]


def _scan(args: argparse.Namespace, client: Client) -> int:
    library = client.scan_library(args.name, restore_deleted=args.restore_deleted)
    with tqdm(unit="file", disable=True if args.json else None) as progress:
        while library.state == "scanning":
            if library.n_to_read:
                progress.total = library.n_to_read
                progress.update(library.n_read - progress.n)
            time.sleep(POLL_S)
            library = next(one for one in client.libraries() if one.name == args.name)
    if args.json:
        out_json(asdict(library))
    else:
        _report(library)
    return 0 if library.state == "idle" else 1


def _report(library: Library) -> None:
    for one in library.problems:
        err(f"{cell(one.path)}: {one.reason}")
    if library.n_problems > len(library.problems):
        err(f"and {library.n_problems - len(library.problems)} more")
    counts = f"{library.n_files} files, {library.n_missing} missing, {library.n_failed} failed"
    out(f"{library.name}: {counts}")
    if library.reason:
        err(f"{library.name} waits: {library.reason}")
