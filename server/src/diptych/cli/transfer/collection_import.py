"""`diptych collections import`: add the rows of an exported Parquet file to a collection of a server."""

import argparse
from typing import Any

from diptych.cli.arguments import add_server_arguments, existing_path
from diptych.cli.output.console import err, out
from diptych.cli.output.outcome_summary import (
    counts_line,
    note_metadata_differs,
    print_json_summary,
    show_failures,
)
from diptych.cli.output.progress import ProgressBars
from diptych.cli.remote import ensure_collection, run_with_client
from diptych.cli.transfer.row_import import RowImport
from diptych.wiring.data_folders import open_parquet_file, require_parquet
from diptych_client import Client

MAX_PRINTED = 20  # failures


def add_verb(verbs: Any) -> None:
    """Declare `diptych collections import FILE.parquet [--into NAME] ...`."""
    about = "add the rows of an exported Parquet file"
    verb = verbs.add_parser(
        "import",
        help=about,
        description="Add the rows of an exported Parquet file to a collection, which is created if "
        "it does not exist. Rows with an image are added as images, which "
        "the server embeds. Other rows are added as ready-made vectors, which the server accepts only if "
        "they have the version and precision of the collection's vectors. Rows that the collection has do "
        "not change, so repeat an interrupted run to resume it. Exit code 1 when a row failed.",
    )
    verb.add_argument("file", type=existing_path, metavar="FILE.parquet", help="the file to read")
    verb.add_argument("--into", metavar="NAME", help="the collection (default: the name of the exported one)")
    verb.add_argument("--vectors-only", action="store_true", help="ignore the images and add the vectors")
    verb.add_argument(
        "--replace", action="store_true", help="replace an image or vector whose id exists with other content"
    )
    add_server_arguments(verb)
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    require_parquet()
    return run_with_client(args, _import)


def _import(args: argparse.Namespace, client: Client) -> int:
    reader = open_parquet_file(args.file, with_images=not args.vectors_only)
    collection = args.into or reader.heading.collection
    ensure_collection(client, collection)
    row_import = RowImport(client, reader, collection, replace=args.replace)
    try:
        with ProgressBars(hidden=args.json) as progress:
            row_import.run(progress)
    finally:
        _report(collection, row_import, reader.n_rows, as_json=args.json)
    return 1 if row_import.counts["failed"] else 0


def _report(collection: str, done: RowImport, n_rows: int, *, as_json: bool) -> None:
    """Print what has been done so far, also when an error or an interrupt ends the command."""
    counts, failures = done.counts, done.failures
    n_left = n_rows - counts.total()
    if as_json:
        about = {"collection": collection, "metadata_differs": done.n_metadata_differs}
        print_json_summary(counts, about, n_left, failures)
        return
    show_failures(list(failures.items())[:MAX_PRINTED])
    if len(failures) > MAX_PRINTED:
        err(f"and {len(failures) - MAX_PRINTED:,} more failed")
    out(f"{collection}: {counts_line(counts, n_left)}")
    note_metadata_differs(done.n_metadata_differs, "row")
