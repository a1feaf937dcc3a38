"""`diptych models suggest`: checkpoints of others that are worth importing. Needs no server."""

import argparse
import json
from importlib.resources import files
from typing import Any

from diptych.cli.output.console import Align, out, out_json, out_table

# The page shows the same file.
_FILE = ("page", "checkpoints.json")
_COLUMNS: dict[str, tuple[str, Align]] = {
    "source": ("checkpoint", "left"),
    "recall": ("recall, English", "right"),
    "image_gflops": ("GFLOP a picture", "right"),
    "parameters_m": ("M parameters", "right"),
    "image_size": ("pixels", "right"),
    "embed_dim": ("numbers", "right"),
    "languages": ("languages", "left"),
    "licence": ("licence", "left"),
}


def add_verb(verbs: Any) -> None:
    """Declare the arguments of the verb."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        "suggest",
        help="list checkpoints that can be imported, with the commands",
        description="List checkpoints that others trained and that can be imported: how much each finds, "
        "what it costs, its languages and licence, and the command that imports it. Asks no server.",
    )
    verb.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,  # it may stand before the verb
        help="print one JSON document instead of text",
    )
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    known = json.loads(files("diptych.http").joinpath(*_FILE).read_text(encoding="utf-8"))
    commands, checkpoints = known["commands"], known["checkpoints"]
    if args.json:
        filled = {use: command.format for use, command in commands.items()}
        rows = [
            {**one, "commands": {use: fill(**one) for use, fill in filled.items()}} for one in checkpoints
        ]
        out_json({"recall": known["recall"], "checkpoints": rows})
        return 0
    header, align = zip(*_COLUMNS.values(), strict=True)
    out_table(header, [[str(one[key]) for key in _COLUMNS] for one in checkpoints], align)
    out(f"recall: {known['recall']}")
    out("GFLOP a picture: of the image tower; the more, the slower")
    out()
    out("In a clone of diptych, to import one and serve it:")
    for one in checkpoints:
        out(f"  {commands['clone'].format(**one)}")
    out(f"Elsewhere: {commands['elsewhere'].format(source='CHECKPOINT', name='NAME')}")
    return 0
