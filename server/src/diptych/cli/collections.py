"""`diptych collections`: list, create and drop them; exporting is a module of its own."""

import argparse
from dataclasses import asdict
from typing import Any

from diptych.cli import collection_export
from diptych.cli.console import out, out_json, out_table
from diptych.cli.remote import add_server_arguments, run_with_client
from diptych_client import Client, CollectionInfo


def add_parser(subparsers: Any) -> None:
    """The arguments of the command and of its three verbs."""
    parser = subparsers.add_parser(
        "collections",
        help="list, create, drop and export collections",
        description="List, create, drop and export collections, which hold the images that are searched.",
    )
    verbs = parser.add_subparsers(required=True, metavar="list|create|drop|export")
    for name, action, about in (
        ("list", _list, "list all collections, with their sizes"),
        ("create", _create, "make a new, empty collection"),
        ("drop", _drop, "remove a collection with all its images"),
    ):
        verb = verbs.add_parser(name, help=about, description=f"{about.capitalize()}.")
        if action is not _list:
            verb.add_argument("name", metavar="NAME", help="the collection")
        if action is _create:
            verb.add_argument(
                "--keep",
                choices=["original", "none"],
                default="original",
                help="none: image files are not kept, so that they cannot be embedded again",
            )
        add_server_arguments(verb)
        verb.set_defaults(run=run, action=action)
    collection_export.add_verb(verbs)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    return run_with_client(args, args.action)


def _list(args: argparse.Namespace, client: Client) -> int:
    found = client.collections()
    if args.json:
        out_json([asdict(collection) for collection in found])
    else:
        header = ["name", "images", "model", "state", "created"]
        out_table(
            header, [_row(collection) for collection in found], ["left", "right", "left", "left", "left"]
        )
    return 0


def _row(collection: CollectionInfo) -> list[str]:
    state = collection.state
    if state == "embedding":
        state = f"embedding {collection.n_embedded} of {collection.n_images}"
    if collection.reason:
        state = f"{state}: {collection.reason}"
    return [collection.name, str(collection.n_images), collection.model, state, collection.created_at]


def _create(args: argparse.Namespace, client: Client) -> int:
    created = client.create_collection(args.name, keep=args.keep)
    if args.json:
        out_json(asdict(created))
    else:
        out(f"created {created.name} for model {created.model}")
    return 0


def _drop(args: argparse.Namespace, client: Client) -> int:
    client.drop_collection(args.name)
    if args.json:
        out_json({"dropped": args.name})
    else:
        out(f"dropped {args.name}")
    return 0
