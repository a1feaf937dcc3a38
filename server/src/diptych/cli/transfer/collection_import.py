"""`diptych collections import`: an exported Parquet file into a collection of a server."""

import argparse
from collections import Counter
from typing import Any

from diptych.cli.output.console import err, out, out_json
from diptych.cli.output.failure_summary import STATUSES, said_of, show_failures
from diptych.cli.output.progress import ProgressBars
from diptych.cli.path_argument import existing
from diptych.cli.remote import add_server_arguments, ensure_collection, run_with_client
from diptych.cli.transfer.row_import import RowImport
from diptych.wiring.data_folders import open_parquet_file, require_parquet
from diptych_client import AddStatus, Client

MAX_NAMED = 20  # failures that are printed


def add_verb(verbs: Any) -> None:
    """`diptych collections import FILE.parquet [--into NAME] ...`."""
    about = "add what a Parquet file of an export holds"
    verb = verbs.add_parser(
        "import",
        help=about,
        description="Add the rows of an exported Parquet file to a collection, which is made if there is "
        "none, with the precision that the exported one was set to. Rows with an image are added as images, "
        "which the server embeds; all others as ready-made vectors, which it refuses unless they are of the "
        "version and precision of the collection. What is there already stays as it is, so an interrupted "
        "run is resumed by repeating it. Exit code 1 when a row failed.",
    )
    verb.add_argument("file", type=existing, metavar="FILE.parquet", help="the file to read")
    verb.add_argument("--into", metavar="NAME", help="the collection; that of the export when none is given")
    verb.add_argument(
        "--vectors-only", action="store_true", help="leave the images alone, and add their vectors"
    )
    verb.add_argument("--replace", action="store_true", help="replace what has the same id and is not equal")
    add_server_arguments(verb)
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    require_parquet()
    return run_with_client(args, _import)


def _import(args: argparse.Namespace, client: Client) -> int:
    reader = open_parquet_file(args.file, with_images=not args.vectors_only)
    collection = args.into or reader.heading.collection
    ensure_collection(client, collection, reader.heading.precision)
    importer = RowImport(client, reader, collection, replace=args.replace)
    try:
        with ProgressBars(hidden=args.json) as bars:
            importer.run(bars)
    finally:
        _report(collection, importer.counts, importer.failures, reader.n_rows, as_json=args.json)
    return 1 if importer.counts["failed"] else 0


def _report(
    collection: str, counts: Counter[AddStatus], failures: dict[str, str], n_rows: int, *, as_json: bool
) -> None:
    """What has been done so far, also when an error or an interrupt ends the command."""
    n_left = n_rows - counts.total()
    if as_json:
        tally: dict[str, object] = {status: counts[status] for status in STATUSES}
        out_json(tally | {"collection": collection, "not_tried": n_left, "failures": failures})
        return
    show_failures(list(failures.items())[:MAX_NAMED])
    if len(failures) > MAX_NAMED:
        err(f"and {len(failures) - MAX_NAMED:,} more failed")
    out(f"{collection}: {said_of(counts, n_left)}")
