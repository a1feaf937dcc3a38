"""`diptych collections import`: add the rows of exported Parquet files to collections of a server."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from diptych.cli.arguments import add_server_arguments, existing_path
from diptych.cli.output.console import err, out, out_json
from diptych.cli.output.outcome_summary import (
    counts_line,
    note_metadata_differs,
    print_json_summary,
    show_failures,
)
from diptych.cli.output.progress import ProgressBars
from diptych.cli.remote import ensure_collection, run_with_client
from diptych.cli.transfer.folder_import import FolderImport, ImportedCollection
from diptych.cli.transfer.row_import import RowImport
from diptych.wiring.data_folders import open_parquet_file, read_collections, require_parquet
from diptych_client import Client

MAX_PRINTED = 20  # failures


def add_verb(verbs: Any) -> None:
    """Declare `diptych collections import FILE.parquet [--into NAME] ...`, and of a folder."""
    about = "add the rows of an exported Parquet file, or of a folder of them"
    verb = verbs.add_parser(
        "import",
        help=about,
        description="Add the rows of an exported Parquet file to a collection, which is created if "
        "it does not exist. Rows with an image are added as images, which "
        "the server embeds. Other rows are added as ready-made vectors, which the server accepts only if "
        "they have the version and precision of the collection's vectors. Rows that the collection has do "
        "not change, so repeat an interrupted run to resume it. Exit code 1 when a row failed. Of a folder "
        "that was exported with '*', all collections are imported with their settings, label sets and "
        "verdicts, and compared with the export in the end: exit code 1 when one differs.",
    )
    verb.add_argument("file", type=existing_path, metavar="FILE.parquet", help="the file, or folder, to read")
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
    if not args.file.is_dir():
        return run_with_client(args, _import)
    if args.into or args.vectors_only or args.replace:
        args.usage_error("--into, --vectors-only and --replace are for a file, not for a folder")
    return run_with_client(args, _import_all)


def _import_all(args: argparse.Namespace, client: Client) -> int:
    exported, done = read_collections(args.file), list[ImportedCollection]()
    try:
        with ProgressBars(hidden=args.json) as progress:
            folder_import = FolderImport(client, args.file, progress)
            for collection in exported:
                done.append(folder_import.run(collection))
    finally:
        _report_all(done, as_json=args.json)
    return 1 if any(one.failures or one.differences for one in done) else 0


def _report_all(done: Sequence[ImportedCollection], *, as_json: bool) -> None:
    """Print what has been done so far, also when an error or an interrupt ends the command."""
    if as_json:
        out_json({"collections": [asdict(one) for one in done]})
        return
    for one in done:
        show_failures(list(one.failures.items())[:MAX_PRINTED])
        labels = f", label sets: {one.n_label_sets}, verdicts: {one.n_verdicts}" if one.n_label_sets else ""
        out(f"{one.name}: {counts_line(one.counts, 0)}{labels}")
        for difference in one.differences:
            err(f"{one.name} differs from the export: {difference}")


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
