"""`diptych delete`: delete images of a collection by id, by metadata, or because they lack a vector."""

import argparse
from typing import Any

from diptych.cli.arguments import add_collection_argument, add_server_arguments, json_object
from diptych.cli.output.console import err, out, out_json, out_table
from diptych.cli.output.metadata import image_name
from diptych.cli.remote import run_with_client
from diptych_client import Client, Deletion, NotFound


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "delete",
        help="delete images of a collection",
        description="Delete images of a collection. With --filter or --lacking, nothing is deleted without "
        "--yes: the number of matching images and their first ids are printed instead. Exit code 1 when an "
        "id does not exist.",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="images to delete")
    parser.add_argument(
        "--filter",
        type=json_object,
        metavar="JSON",
        help='condition on metadata as in a search, such as \'{"year": {"lt": 2000}}\'',
    )
    parser.add_argument(
        "--lacking", action="store_true", help="images that have no vector of the served version"
    )
    parser.add_argument(
        "--yes", action="store_true", help="delete the images that --filter and --lacking match"
    )
    add_collection_argument(parser)
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    by_condition = args.filter is not None or args.lacking
    if bool(args.ids) == by_condition:
        args.usage_error("give either ids, or --filter, --lacking or both")
    return run_with_client(args, _by_condition if by_condition else _by_id)


def _by_id(args: argparse.Namespace, client: Client) -> int:
    collection = args.collection or client.version().default_collection
    absent = [id for id in dict.fromkeys(args.ids) if not _delete(client, collection, id)]
    n_deleted = len(set(args.ids)) - len(absent)
    if args.json:
        out_json({"collection": collection, "n_images": n_deleted, "preview": False, "not_there": absent})
    else:
        for id in absent:
            err(f"not there: {id}")
        out(f"{collection}: {n_deleted} deleted")
    return 1 if absent else 0


def _delete(client: Client, collection: str, id: str) -> bool:
    try:
        client.delete_image(collection, id)
    except NotFound:
        client.collection(collection)  # raises if the collection does not exist either
        return False
    return True


def _by_condition(args: argparse.Namespace, client: Client) -> int:
    collection = args.collection or client.version().default_collection
    deletion = client.delete_images(
        collection, filter=args.filter, lacking=args.lacking, preview=not args.yes
    )
    if args.json:
        out_json({"collection": collection, **vars(deletion)})
    else:
        _show(client, collection, deletion)
    return 0


def _show(client: Client, collection: str, deletion: Deletion) -> None:
    if not deletion.preview:
        out(f"{collection}: {deletion.n_images} deleted")
        return
    records = client.find_images(collection, deletion.ids) if deletion.ids else {}
    names = {id: image_name(record.metadata) or id for id, record in records.items()}
    rows = [[names.get(id, id), id] for id in deletion.ids]
    if any(name != id for name, id in rows):
        out_table(["name", "id"], rows, ["left", "left"])
    else:
        for id in deletion.ids:
            out(id)
    if deletion.n_images > len(deletion.ids):
        out(f"... and {deletion.n_images - len(deletion.ids)} more")
    out(f"{collection}: {deletion.n_images} would be deleted; repeat it with --yes")
