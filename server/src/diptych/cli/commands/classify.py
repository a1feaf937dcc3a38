"""`diptych classify`: find the label that fits each image best."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.cli.arguments import add_server_arguments, existing_path, image_source
from diptych.cli.output.console import bar, cell, display_width, err, out, out_json, pad
from diptych.cli.remote import names_of_images, run_with_client
from diptych.cli.text_reader import read_lines
from diptych.cli.transfer.sources import expand_folders
from diptych_client import Classification, Client, ImageUrl, Prediction


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "classify",
        help="classify images by labels of your own",
        description="Print how well each of your labels fits each image, best first. Scores sum to 1 over "
        "the labels, unless --multi-label scores each label by itself.",
    )
    parser.add_argument(
        "images",
        nargs="+",
        type=image_source,
        metavar="IMAGE|FOLDER",
        help="image files, folders of images, https URLs",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        dest="labels",
        metavar="L",
        help="a label; repeat the flag for more",
    )
    parser.add_argument(
        "--labels-file", type=existing_path, metavar="FILE", help="file with more labels, one per line"
    )
    templates = parser.add_mutually_exclusive_group()
    templates.add_argument("--template", metavar="T", help="a sentence with one {} in place of the label")
    templates.add_argument(
        "--templates",
        metavar="NAME",
        help="a named set of sentences: one of the model, or photos, pictograms, label",
    )
    parser.add_argument("--multi-label", action="store_true", help="score each label by itself")
    parser.add_argument("--top-k", type=int, metavar="N", help="print only the best N labels")
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    args.images = expand_folders(args.images)
    return run_with_client(args, _classify, names_of_images(args.images))


def _classify(args: argparse.Namespace, client: Client) -> int:
    labels = args.labels + (_read_labels(args.labels_file) if args.labels_file else [])
    if not labels:
        args.usage_error("no labels: give --label or --labels-file")
    result = client.classify(
        args.images,
        labels,
        template=args.template,
        templates=args.templates,
        multi_label=args.multi_label,
        top_k=args.top_k,
    )
    if args.json:
        out_json(_as_json(args.images, result))
    else:
        _show(args.images, result)
        _note_truncated_labels(result)
    for warning in result.warnings:
        err(f"warning: {warning.item}: {warning.detail}")
    return 0


def _read_labels(file: Path) -> list[str]:
    return [line.strip() for line in read_lines(file) if line.strip()]


def _as_json(files: Sequence[Path | ImageUrl], result: Classification) -> dict[str, object]:
    data = [
        {"file": str(file), "predictions": [vars(prediction) for prediction in image.predictions]}
        for file, image in zip(files, result.data, strict=True)
    ]
    warnings = [vars(warning) for warning in result.warnings]
    return {"model": vars(result.model), "data": data, "warnings": warnings}


def _show(files: Sequence[Path | ImageUrl], result: Classification) -> None:
    for number, (file, image) in enumerate(zip(files, result.data, strict=True)):
        if number:
            out()
        out(str(file))
        _show_bars(image.predictions)


def _show_bars(predictions: Sequence[Prediction]) -> None:
    labels = [cell(prediction.label) for prediction in predictions]
    width = max(map(display_width, labels), default=0)
    for label, prediction in zip(labels, predictions, strict=True):
        out(f"  {pad(label, width, 'left')}  {bar(prediction.score)} {prediction.score:6.1%}")


def _note_truncated_labels(result: Classification) -> None:
    """Print which of the shown labels were longer than the model reads."""
    predictions = [prediction for image in result.data for prediction in image.predictions]
    labels = list(dict.fromkeys(one.label for one in predictions if one.truncated))
    if labels:
        others = f" (and {len(labels) - 1} more)" if len(labels) > 1 else ""
        err(f"note: truncated, longer than the model reads: {cell(labels[0])}{others}")
