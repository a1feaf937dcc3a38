"""`diptych search`: find images by words, by an image file, or by the id of an image."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from diptych.cli.arguments import add_collection_argument, add_server_arguments, image_source, json_object
from diptych.cli.output.console import Align, err, out, out_json, out_table
from diptych.cli.remote import run_with_client
from diptych_client import Client, Hit, SearchResult


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "search",
        help="find images by words or by an image",
        description="Find images of a collection by words, by an image file, or by the id of an image in the "
        "collection. Best hits come first.",
    )
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("words", nargs="?", metavar="WORDS", help="the words to search for, in quotes")
    query.add_argument(
        "--image", type=image_source, metavar="FILE", help="find images similar to this file or https URL"
    )
    query.add_argument("--id", metavar="ID", help="find images similar to the one with this id")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="number of hits (default 10)")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="skip the N best hits")
    parser.add_argument(
        "--filter",
        type=json_object,
        metavar="JSON",
        help='condition on metadata, such as \'{"album": "pets"}\'',
    )
    parser.add_argument(
        "--min-relevance", type=float, metavar="P", help="leave out hits with less relevance, from 0 to 1"
    )
    parser.add_argument(
        "--exact", action="store_true", help="compare with every image instead of using the index"
    )
    add_collection_argument(parser)
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, _search, {"query[0]": str(args.image or "the query")})


def _search(args: argparse.Namespace, client: Client) -> int:
    result = client.search(
        args.words,
        image=args.image,
        id=args.id,
        k=args.k,
        offset=args.offset,
        filter=args.filter,
        collection=args.collection,
        exact=args.exact,
        min_relevance=args.min_relevance,
    )
    if args.json:
        out_json(asdict(result))
    else:
        _show(result, args.offset)
        if result.truncated:
            err("note: the words were truncated, longer than the model reads")
    return 0


def _show(result: SearchResult, offset: int) -> None:
    calibrated = any(hit.relevance is not None for hit in result.hits)
    header = ["", "cosine", *(["relevance"] if calibrated else []), "id", "metadata"]
    align: list[Align] = ["right", "right", *(["right"] if calibrated else []), "left", "left"]  # type: ignore[list-item]
    rows = [_row(rank, hit, calibrated) for rank, hit in enumerate(result.hits, offset + 1)]
    if rows:
        out_table(header, rows, align)
    else:
        out("nothing found")


def _row(rank: int, hit: Hit, calibrated: bool) -> list[str]:
    relevance = "" if hit.relevance is None else f"{hit.relevance:.2f}"
    metadata = "  ".join(f"{key}={_brief(value)}" for key, value in hit.metadata.items())
    return [str(rank), f"{hit.cosine:.3f}", *([relevance] if calibrated else []), hit.id, metadata]


def _brief(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
