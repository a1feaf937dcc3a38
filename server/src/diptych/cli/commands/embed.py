"""`diptych embed`: embed images and texts, and write the embeddings as a NumPy file or as JSON."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.cli.arguments import add_server_arguments, image_source
from diptych.cli.output.console import cell, err, out, out_json
from diptych.cli.output.named_file import require_writable, writing
from diptych.cli.remote import names_of_images, run_with_client
from diptych.cli.transfer.sources import expand_folders
from diptych_client import Client, EmbeddedItem, Embeddings, ImageUrl


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "embed",
        help="embed images and texts",
        description="Embed images and texts. Embeddings come in the order of the arguments, images first. "
        "Without --out they are printed as JSON.",
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=image_source,
        metavar="IMAGE|FOLDER",
        help="image files, folders of images, https URLs",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        dest="texts",
        metavar="WORDS",
        help="a text; repeat the flag for more",
    )
    parser.add_argument(
        "--out",
        type=_npy_file,
        metavar="FILE.npy",
        help="write a float32 matrix with one row per item, for numpy.load",
    )
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def _npy_file(text: str) -> Path:
    if not text.endswith(".npy"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .npy")
    return Path(text)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    args.images = expand_folders(args.images)
    return run_with_client(args, _embed, names_of_images(args.images))


def _embed(args: argparse.Namespace, client: Client) -> int:
    if not args.images and not args.texts:
        args.usage_error("nothing to embed: give image files or --text")
    require_writable(args.out)
    result = client.embed(images=args.images, texts=args.texts)
    if args.out is None:
        out_json(_as_json(args.images, args.texts, result))
        return 0
    rows = np.stack([np.asarray(item.embedding) for item in (*result.images, *result.texts)])  # (N, D)
    with writing(args.out):
        np.save(args.out, rows, allow_pickle=False)
    if args.json:
        out_json({"model": vars(result.model), "file": str(args.out), "shape": rows.shape})
    else:
        out(f"{args.out}: {rows.shape[0]} x {rows.shape[1]} float32 by {result.model}")
    for text, item in zip(args.texts, result.texts, strict=True):
        if item.truncated:
            err(f"note: truncated, longer than the model reads: {cell(text)}")
    return 0


def _as_json(files: Sequence[Path | ImageUrl], texts: Sequence[str], result: Embeddings) -> dict[str, object]:
    images = [{"image": str(file)} | _row(item) for file, item in zip(files, result.images, strict=True)]
    words = [{"text": text} | _row(item) for text, item in zip(texts, result.texts, strict=True)]
    return {"model": vars(result.model), "data": images + words}


def _row(item: EmbeddedItem) -> dict[str, Any]:
    return {"embedding": list(item.embedding), "truncated": item.truncated}
