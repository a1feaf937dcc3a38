"""`diptych vectors`: add ready-made vectors from a NumPy file to a collection; go on when some fail."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from diptych.cli.arguments import add_collection_argument, add_server_arguments, existing_path
from diptych.cli.output.outcome_summary import AddSummary
from diptych.cli.remote import ensure_collection, run_with_client
from diptych.cli.text_reader import read_lines, reason_of
from diptych.errors import InvalidValue
from diptych_client import Client, ModelRef

_MODEL = re.compile(r"([^/]+)/([0-9]+)")


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "vectors",
        help="add ready-made vectors to a collection",
        description="Add vectors that a version of a model has made to a collection, which is created if it "
        "does not exist. The server accepts only vectors of the version that it serves. Exit code 1 when a "
        "vector failed.",
    )
    parser.add_argument(
        "file",
        type=existing_path,
        metavar="FILE.npy",
        help="a matrix with one row per vector, as `diptych embed` writes it",
    )
    parser.add_argument(
        "--model",
        type=_model,
        required=True,
        metavar="NAME/VERSION",
        help="the version that made the vectors",
    )
    parser.add_argument(
        "--precision", default="fp32", help="the precision that made the vectors (default fp32)"
    )
    parser.add_argument(
        "--decode", choices=["exact", "fast"], default="exact", help="how images were decoded for the vectors"
    )
    parser.add_argument(
        "--items",
        type=existing_path,
        metavar="FILE.jsonl",
        help='{"id": .., "metadata": {..}} per line, one line per row',
    )
    parser.add_argument(
        "--replace", action="store_true", help="replace an image or vector whose id exists with other content"
    )
    add_collection_argument(parser)
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, _add)


def _add(args: argparse.Namespace, client: Client) -> int:
    rows = _read_rows(args.file)  # (N, D)
    items = _read_items(args.items, len(rows)) if args.items else [{}] * len(rows)
    collection = args.collection or client.version().default_collection
    ensure_collection(client, collection)
    name, version = args.model
    with AddSummary(collection, len(rows), "vector", as_json=args.json) as summary:
        client.add_vectors(
            list(rows),
            model=ModelRef(name, version, args.precision, args.decode),
            ids=[item.get("id") for item in items],
            metadata=[item.get("metadata") for item in items],
            collection=collection,
            replace=args.replace,
            on_outcome=summary.note,
        )
    return summary.exit_status


def _model(text: str) -> tuple[str, int]:
    match = _MODEL.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is not of the form NAME/VERSION")
    return match[1], int(match[2])


def _read_rows(file: Path) -> Any:
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidValue(f"cannot be read as a NumPy file: {reason_of(error)}", str(file)) from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind != "f":
        raise InvalidValue("is not a matrix of floating-point numbers", str(file))
    return np.ascontiguousarray(rows, np.float32)


def _read_items(file: Path, n_rows: int) -> list[dict[str, Any]]:
    lines = read_lines(file)
    if len(lines) != n_rows:
        raise InvalidValue(f"has {len(lines)} lines for {n_rows} vectors", str(file))
    return [_read_item(line, f"{file}:{number}") for number, line in enumerate(lines, 1)]


def _read_item(line: str, where: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except ValueError as error:
        raise InvalidValue(f"is not JSON: {error}", where) from error
    if not isinstance(item, dict) or item.keys() - {"id", "metadata"}:
        raise InvalidValue("is not an object with id and metadata only", where)
    if not isinstance(item.get("id", ""), str) or not isinstance(item.get("metadata", {}), dict):
        raise InvalidValue('"id" must be a string and "metadata" an object', where)
    return item
