"""`diptych collections`: list, show, create, rename, configure and drop collections.

The verbs export and import are in `transfer`.
"""

import argparse
from dataclasses import asdict
from typing import Any, Literal

from diptych.cli.arguments import add_server_arguments
from diptych.cli.output.console import Align, format_bytes, out, out_json, out_table
from diptych.cli.remote import run_with_client
from diptych.cli.transfer import collection_export, collection_import
from diptych_client import Client, CollectionInfo, Keep


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command and of its verbs."""
    parser = subparsers.add_parser(
        "collections",
        help="list, create, change, drop, export and import collections",
        description="List, create, change, drop, export and import collections. A collection holds images to "
        "search.",
    )
    names = "list|show|create|rename|configure|drop|export|import"
    verbs = parser.add_subparsers(required=True, metavar=names)
    for name, action, about in (
        ("list", _list, "list all collections with their sizes"),
        ("show", _show, "show everything about one collection"),
        ("create", _create, "create an empty collection"),
        ("rename", _rename, "rename a collection"),
        ("configure", _configure, "change whether files are kept, and which metadata is searched by words"),
        ("drop", _drop, "delete a collection with all its images"),
    ):
        verb = verbs.add_parser(name, help=about, description=f"{about.capitalize()}.")
        if action is not _list:
            verb.add_argument("name", metavar="NAME", help="the collection")
        if action is _rename:
            verb.add_argument("new_name", metavar="NEW", help="its new name")
        if action in {_create, _configure}:
            verb.add_argument(
                "--keep",
                choices=["original", "none"],
                help="none: do not keep image files; such images cannot be embedded again",
            )
            verb.add_argument(
                "--text-fields",
                metavar="FIELDS",
                help="the fields of metadata whose words can be searched, separated by commas, such as "
                "caption,file.name; all: all fields",
            )
            verb.set_defaults(usage_error=verb.error)
        add_server_arguments(verb)
        verb.set_defaults(run=run, action=action)
    collection_export.add_verb(verbs)
    collection_import.add_verb(verbs)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, args.action)


def _list(args: argparse.Namespace, client: Client) -> int:
    found = client.collections()
    if args.json:
        out_json([asdict(collection) for collection in found])
    else:
        header = ["name", "images", "files", "memory", "model", "state", "created"]
        align: list[Align] = ["left", "right", "right", "right", "left", "left", "left"]
        out_table(header, [_row(collection) for collection in found], align)
    return 0


def _row(collection: CollectionInfo) -> list[str]:
    return [
        collection.name,
        str(collection.n_images),
        format_bytes(collection.kept_bytes),
        format_bytes(collection.memory_bytes),
        str(collection.vectors or collection.model),
        f"{_state(collection)}, stays" if collection.stays else _state(collection),
        collection.created_at,
    ]


def _state(collection: CollectionInfo) -> str:
    state = collection.state
    if state == "embedding":
        state = f"embedding {collection.n_embedded} of {collection.n_images}"
    if collection.reason:
        state = f"{state}: {collection.reason}"
    moving = collection.rollout
    if moving is not None:
        target = f"{moving.model}/{moving.version} ({moving.precision})"
        n_done = f"{moving.n_embedded} of {moving.n_images}" if moving.n_images else moving.state
        state = f"{state}, moving to {target}: {n_done}"
    return state


def _show(args: argparse.Namespace, client: Client) -> int:
    _out(args, client.collection(args.name))
    return 0


def _out(args: argparse.Namespace, collection: CollectionInfo) -> None:
    if args.json:
        out_json(asdict(collection))
        return
    lines = {
        "name": collection.name,
        "images": f"{collection.n_images}, {collection.n_embedded} of them can be found",
        "files": f"{collection.n_kept}, {format_bytes(collection.kept_bytes)}; new ones: {collection.keep}",
        "vectors": _vectors(collection),
        "index": _index(collection),
        "words": _words(collection),
        "memory": _memory(collection),
        "state": _state(collection),
        "stays": collection.stays,
        "created": collection.created_at,
    }
    for name, value in lines.items():
        if value:
            out(f"{name:<8} {value}")


def _index(collection: CollectionInfo) -> str:
    if collection.recall is None:
        return ""
    on = f", on {collection.index_device}" if collection.index_device else ""
    by = collection.recall_by
    if collection.index_kind != "ivf" or by is None:
        reason = f" ({collection.index_reason})" if collection.index_reason else ""
        return f"every row is compared{on}{reason}"
    lists, *reasons = collection.index_reason.split("; ")
    found = f"it finds {by.names:.1%} of the ten nearest by names, {by.nouns:.1%} by other nouns"
    return "; ".join([f"{lists}{on}", f"{found}, {by.images:.1%} by images", *reasons])


def _words(collection: CollectionInfo) -> str:
    if collection.n_text_indexed is None:  # of an older server
        return ""
    fields = (
        "all fields" if collection.text_fields is None else ", ".join(collection.text_fields) or "no field"
    )
    if collection.n_text_indexed < collection.n_images:
        return f"of {fields}, indexed of {collection.n_text_indexed} of {collection.n_images} images"
    return f"of {fields}"


def _memory(collection: CollectionInfo) -> str:
    loaded = "" if collection.load_s is None else f", read in {collection.load_s:.1f} s"
    return f"{format_bytes(collection.memory_bytes)} of vectors{loaded}"


def _vectors(collection: CollectionInfo) -> str:
    return str(collection.vectors or f"of {collection.model}, which is not served")


def _create(args: argparse.Namespace, client: Client) -> int:
    keep: Keep = args.keep or "original"
    fields = _text_fields(args)
    created = client.create_collection(args.name, keep=keep, text_fields=None if fields == "all" else fields)
    if args.json:
        out_json(asdict(created))
    else:
        out(f"created {created.name} for model {created.model}")
    return 0


def _rename(args: argparse.Namespace, client: Client) -> int:
    _out(args, client.change_collection(args.name, new_name=args.new_name))
    return 0


def _configure(args: argparse.Namespace, client: Client) -> int:
    fields = _text_fields(args)
    if args.keep is None and fields is None:
        args.usage_error("give --keep, --text-fields, or both")
    _out(args, client.change_collection(args.name, keep=args.keep, text_fields=fields))
    return 0


def _text_fields(args: argparse.Namespace) -> list[str] | Literal["all"] | None:
    """The fields that were given, None if none were."""
    given: str | None = args.text_fields
    if given is None or given == "all":
        return None if given is None else "all"
    return [field.strip() for field in given.split(",") if field.strip()]


def _drop(args: argparse.Namespace, client: Client) -> int:
    client.drop_collection(args.name)
    if args.json:
        out_json({"dropped": args.name})
    else:
        out(f"dropped {args.name}")
    return 0
