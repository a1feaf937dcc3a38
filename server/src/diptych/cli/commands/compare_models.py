"""`diptych models compare`: what searches find with two versions, as a table and as a page with pictures."""

import argparse
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.cli.arguments import add_server_arguments
from diptych.cli.output.comparison_page import comparison_page, shown_images
from diptych.cli.output.comparison_table import print_comparison
from diptych.cli.output.console import err, out, out_json
from diptych.cli.output.named_file import require_writable, writing
from diptych.cli.output.progress import ProgressBars
from diptych.cli.remote import run_with_client
from diptych_client import Client, Comparison, NotFound

THUMBNAIL_PX = 128


def add_verb(verbs: Any) -> None:
    """Declare the arguments of the verb."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        "compare",
        help="compare the searches of two versions",
        description="Compare the searches of two versions that both have vectors in the server: the one that "
        "serves, the one before, and the one of the rollout under way. Without versions, show what the "
        "newest rollout has found, even if it was refused. Exit status 1 if the switch is refused.",
    )
    verb.add_argument(
        "old",
        metavar="OLD",
        nargs="?",
        type=_version,
        help="version number, or NAME/VERSION of another model",
    )
    verb.add_argument("new", metavar="NEW", nargs="?", type=_version, help="version number, or NAME/VERSION")
    verb.add_argument("--name", help="model of the versions; default: the active one")
    verb.add_argument(
        "--collection",
        metavar="NAME",
        help="default: all that have vectors of both; DIPTYCH_DEFAULT_COLLECTION does not count",
    )
    verb.add_argument("--html", metavar="FILE", type=Path, help="also write a page with the pictures found")
    add_server_arguments(verb, inherited=True)
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    if args.old is not None and args.new is None:
        args.usage_error("needs two versions, or none")
    return run_with_client(args, _compare)


def _version(text: str) -> tuple[str | None, int]:
    name, slash, number = text.rpartition("/")
    if not number.isdecimal() or (slash and not name):
        raise argparse.ArgumentTypeError(f"{text!r} is no version: give a number, or NAME/VERSION")
    return name or None, int(number)


def _compare(args: argparse.Namespace, client: Client) -> int:
    require_writable(args.html)
    comparison = _of_rollout(client, args.collection) if args.old is None else _of_versions(args, client)
    if comparison is None:
        err("diptych: no rollout has compared anything: name two versions")
        return 1
    if args.json:
        out_json(asdict(comparison))
    else:
        print_comparison(comparison)
    if args.html is not None:
        page = _page(client, comparison, hidden=args.json)
        with writing(args.html):
            args.html.write_text(page, encoding="utf-8")
        if not args.json:
            out(f"{args.html} has the pictures of both")
    return 1 if comparison.unmet else 0


def _of_versions(args: argparse.Namespace, client: Client) -> Comparison | None:
    (old_name, old), (new_name, new) = args.old, args.new
    name = args.name or _active_name(client)
    return client.compare_versions(
        new_name or name, old, new, old_name=old_name or name, collection=args.collection
    )


def _active_name(client: Client) -> str:
    active = client.rollout_status().active
    return "" if active is None else active.name


def _of_rollout(client: Client, collection: str | None) -> Comparison | None:
    """The comparison that the newest rollout with one has stored, of all collections or one."""
    for n_newer, rollout in enumerate(client.rollouts()):
        if rollout.comparison is not None:
            if n_newer:
                began = rollout.created_at[:19].replace("T", " ")
                err(f"the newest rollout compared nothing; this is of that to {rollout.target}, {began} UTC")
            stored = client.rollout(rollout.id).comparison
            if stored is None or collection is None:
                return stored
            chosen = tuple(one for one in stored.collections if one.collection == collection)
            return Comparison(chosen, stored.unmet) if chosen else None
    return None


def _page(client: Client, comparison: Comparison, *, hidden: bool) -> str:
    """The page, with the thumbnails that the server has."""
    wanted, thumbnails = shown_images(comparison), dict[tuple[str, str], bytes]()
    with ProgressBars(hidden=hidden) as bars:
        bars.begin("fetching pictures", len(wanted))
        for collection, id in wanted:
            with suppress(NotFound):  # deleted since, or its file is not kept
                thumbnails[collection, id] = client.thumbnail(collection, id, size_px=THUMBNAIL_PX)
            bars.advance()
    return comparison_page(comparison, thumbnails)
