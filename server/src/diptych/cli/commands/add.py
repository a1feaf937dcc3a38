"""`diptych add`: add images from folders and files to a collection; go on when single ones fail."""

import argparse
import math
from contextlib import suppress
from typing import Any

from diptych.cli.arguments import add_collection_argument, add_server_arguments, existing_path
from diptych.cli.output.console import err
from diptych.cli.output.outcome_summary import AddSummary
from diptych.cli.remote import ensure_collection, run_with_client
from diptych.cli.transfer.archives import add_archive
from diptych.cli.transfer.sources import IdFrom, describe, find_images, find_older_ids, read_items
from diptych.cli.transfer.watch_loop import watch_folder
from diptych.errors import InvalidValue
from diptych_client import Client

ARCHIVE = ".tar"


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "add",
        help="add images to a collection",
        description="Add images to a collection, which is created if it does not exist. Images that the "
        "collection already has are not sent and do not change, so repeat an interrupted run to resume it. "
        "A .tar archive is sent as a whole and processed by the server as a job. Exit code 1 when an image "
        "failed.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=existing_path,
        metavar="FOLDER|FILE",
        help="folders of images and image files, or one archive",
    )
    add_collection_argument(parser)
    parser.add_argument(
        "--recursive",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="search folders inside folders too (default)",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace an image whose id exists with different bytes, and metadata that differs",
    )
    parser.add_argument(
        "--send-all",
        action="store_true",
        help="also send images that the collection already has: the server then repairs damaged files; "
        "missing files are sent in any case",
    )
    parser.add_argument(
        "--id-from",
        choices=["content", "name"],
        help="take ids from the bytes (the default: equal files are one image), or from the path of the file "
        "inside its folder; a path with characters other than A-Z a-z 0-9 . _ / - ends in a hash of the path",
    )
    parser.add_argument(
        "--metadata",
        type=existing_path,
        metavar="FILE.jsonl",
        help='one {"file": .., "id": .., "metadata": {..}} per line; file is the path within the folder, id '
        "and metadata are optional, and file and exif are reserved names in metadata",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="keep the collection in step with one folder until SIGINT or SIGTERM: add new files, replace "
        "changed ones, delete the images of files that are gone; no other images are touched, and links to "
        "files outside of the folder are skipped",
    )
    parser.add_argument(
        "--poll-s",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="seconds between two looks of --watch (default 2)",
    )
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"{text[:100]!r} must be a number of seconds above 0")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    archives = [path for path in args.paths if path.suffix.lower() == ARCHIVE and not path.is_dir()]
    if archives and (len(args.paths) > 1 or args.id_from or args.metadata):
        args.usage_error(
            f"{archives[0]}: an archive must be the only path, and contains its own ids and metadata"
        )
    if args.watch:
        if args.replace or args.send_all or args.id_from == "content" or args.metadata:
            args.usage_error(
                "--watch takes ids from file names and replaces what changed: "
                "leave out --replace, --send-all, --id-from and --metadata"
            )
        if len(args.paths) > 1 or not args.paths[0].is_dir():
            args.usage_error("--watch needs exactly one folder")
    return run_with_client(args, _add_archive if archives else watch_folder if args.watch else _add)


def _add_archive(args: argparse.Namespace, client: Client) -> int:
    collection = args.collection or client.version().default_collection
    ensure_collection(client, collection)
    return add_archive(client, args.paths[0], collection, replace=args.replace, as_json=args.json)


def _add(args: argparse.Namespace, client: Client) -> int:
    items = read_items(args.metadata) if args.metadata else {}
    id_from: IdFrom = args.id_from or "content"
    sources, missing = describe(find_images(args.paths, args.recursive), id_from, items)
    if missing:
        described = "1 file that is" if len(missing) == 1 else f"{len(missing):,} files that are"
        err(f"{args.metadata} describes {described} not being added, such as {missing[0]}")
    if not sources:
        raise InvalidValue(f"no image files in {', '.join(map(str, args.paths))}")
    collection = args.collection or client.version().default_collection
    ensure_collection(client, collection)
    if id_from == "name" and (older_ids := find_older_ids(client, collection, sources)):
        sources, _ = describe(sources, id_from, items, older_ids)
    files = [str(source.path) for source in sources]
    with AddSummary(collection, len(sources), "image", files=files, as_json=args.json) as summary:
        client.add(
            [source.path for source in sources],
            ids=[source.id for source in sources],
            metadata=[source.metadata for source in sources],
            collection=collection,
            replace=args.replace,
            skip_known=not args.send_all,
            on_outcome=summary.note,
        )
    return summary.exit_status
