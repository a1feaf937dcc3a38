"""`diptych classify`: which of the given labels goes with each image."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.cli.output.console import bar, cell, columns, err, out, out_json, pad
from diptych.cli.path_argument import existing
from diptych.cli.remote import add_server_arguments, image_source, names_of_images, run_with_client
from diptych.cli.text_reader import lines_of
from diptych_client import Classification, Client, ImageUrl, Prediction


def add_parser(subparsers: Any) -> None:
    """The arguments of the command."""
    parser = subparsers.add_parser(
        "classify",
        help="judge images against labels of your own",
        description="Show which of your labels goes with each image, best first. Scores sum to 1 over the "
        "labels unless each is judged by itself.",
    )
    parser.add_argument(
        "images", nargs="+", type=image_source, metavar="IMAGE", help="image files, or https URLs"
    )
    parser.add_argument(
        "--label", action="append", default=[], dest="labels", metavar="L", help="a label; repeat it"
    )
    parser.add_argument("--labels-file", type=existing, metavar="FILE", help="more labels, one a line")
    templates = parser.add_mutually_exclusive_group()
    templates.add_argument("--template", metavar="T", help="a sentence with one {} for the label")
    templates.add_argument(
        "--templates",
        metavar="NAME",
        help="a set of sentences: one of the model's, or photos, pictograms, label",
    )
    parser.add_argument("--multi-label", action="store_true", help="judge each label by itself")
    parser.add_argument("--top-k", type=int, metavar="N", help="show the best N labels only")
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    return run_with_client(args, _classify, names_of_images(args.images))


def _classify(args: argparse.Namespace, client: Client) -> int:
    labels = args.labels + (_read_labels(args.labels_file) if args.labels_file else [])
    if not labels:
        args.usage("no labels: give --label or --labels-file")
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
        _note_cut_labels(result)
    return 0


def _read_labels(file: Path) -> list[str]:
    return [line.strip() for line in lines_of(file) if line.strip()]


def _as_json(files: Sequence[Path | ImageUrl], result: Classification) -> dict[str, object]:
    data = [
        {"file": str(file), "predictions": [vars(prediction) for prediction in image.predictions]}
        for file, image in zip(files, result.data, strict=True)
    ]
    return {"model": vars(result.model), "data": data}


def _show(files: Sequence[Path | ImageUrl], result: Classification) -> None:
    for number, (file, image) in enumerate(zip(files, result.data, strict=True)):
        if number:
            out()
        out(str(file))
        _show_bars(image.predictions)


def _show_bars(predictions: Sequence[Prediction]) -> None:
    labels = [cell(prediction.label) for prediction in predictions]
    width = max(map(columns, labels), default=0)
    for label, prediction in zip(labels, predictions, strict=True):
        out(f"  {pad(label, width, 'left')}  {bar(prediction.score)} {prediction.score:6.1%}")


def _note_cut_labels(result: Classification) -> None:
    """Say which of the labels shown were longer than the model reads."""
    cut = list(dict.fromkeys(p.label for image in result.data for p in image.predictions if p.truncated))
    if cut:
        err(f"note: cut, since the model reads no more: {cell(cut[0])}{_and_more(len(cut) - 1)}")


def _and_more(n_labels: int) -> str:
    return f" (and {n_labels} more)" if n_labels else ""
