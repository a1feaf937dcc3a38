"""`diptych add`: images from folders and files into a collection, past the ones that fail."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diptych.cli.console import err, out, out_json
from diptych.cli.remote import add_collection_argument, add_server_arguments, run_with_client
from diptych.cli.sources import Source, describe, find_images, read_items
from diptych.errors import InvalidValue
from diptych_client import AddOutcome, AddStatus, Client, Conflict, NotFound

STATUSES: tuple[AddStatus, ...] = ("created", "replaced", "unchanged", "failed")


def add_parser(subparsers: Any) -> None:
    """The arguments of the command."""
    parser = subparsers.add_parser(
        "add",
        help="add images to a collection",
        description="Add images to a collection, which is made if there is none. What is there already stays "
        "as it is, so an interrupted run is resumed by repeating it. Exit code 1 when an image failed.",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FOLDER|FILE", help="folders of images, and files"
    )
    add_collection_argument(parser)
    parser.add_argument(
        "--recursive",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="folders inside folders too (default)",
    )
    parser.add_argument(
        "--replace", action="store_true", help="replace images whose id is taken by other bytes"
    )
    parser.add_argument(
        "--id-from",
        choices=["content", "name"],
        default="content",
        help="ids from the bytes (the same image twice is one), or from the file's path in its folder",
    )
    parser.add_argument(
        "--metadata",
        type=Path,
        metavar="FILE.jsonl",
        help='one {"file": .., "id": .., "metadata": {..}} a line; id and metadata may be left out',
    )
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    return run_with_client(args, _add)


def _add(args: argparse.Namespace, client: Client) -> int:
    items = read_items(args.metadata) if args.metadata else {}
    sources, missing = describe(find_images(args.paths, args.recursive), args.id_from, items)
    if missing:
        err(f"{args.metadata} describes {len(missing)} files that are not being added, such as {missing[0]}")
    if not sources:
        raise InvalidValue(f"no image files in {', '.join(map(str, args.paths))}")
    collection = args.collection or client.version().default_collection
    ensure_collection(client, collection)
    outcomes: list[AddOutcome] = []
    try:
        with tqdm(total=len(sources), unit="image", disable=True if args.json else None) as progress:

            def done(outcome: AddOutcome) -> None:
                outcomes.append(outcome)
                progress.update()

            client.add(
                [source.path for source in sources],
                ids=[source.id for source in sources],
                metadata=[source.metadata for source in sources],
                collection=collection,
                replace=args.replace,
                on_outcome=done,
            )
    finally:
        _report(collection, sources, outcomes, args.json)
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def ensure_collection(client: Client, name: str) -> None:
    """Make the collection if there is none."""
    try:
        client.collection(name)
    except NotFound:
        try:
            client.create_collection(name)
        except Conflict:  # another one made it in between
            return


def _report(
    collection: str, sources: Sequence[Source], outcomes: Sequence[AddOutcome], as_json: bool
) -> None:
    """What has been done so far, also when an error or an interrupt ends the command."""
    n_left = len(sources) - len(outcomes)
    counts = Counter(outcome.status for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if as_json:
        failures = [{"file": str(sources[o.index].path), "error": str(o.error)} for o in failed]
        tally: dict[str, object] = {status: counts[status] for status in STATUSES}
        out_json(tally | {"collection": collection, "not_tried": n_left, "failures": failures})
        return
    for outcome in failed:
        err(f"failed: {sources[outcome.index].path}: {outcome.error}")
    said = [f"{counts[status]} {status}" for status in STATUSES]
    out(f"{collection}: {', '.join(said + ([f'{n_left} not tried'] if n_left else []))}")
