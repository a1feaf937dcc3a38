"""`diptych models push`: send a model version to the server."""

import argparse
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from diptych.cli.arguments import add_server_arguments, existing_path
from diptych.cli.output.console import format_bytes, out, out_json
from diptych.cli.remote import run_with_client
from diptych_client import Client, PushedVersion


def add_verb(verbs: Any) -> None:
    """Declare the arguments of the verb."""
    verb = verbs.add_parser(
        "push",
        help="send a model version to the server",
        description="Send a model version to a server on another machine, which publishes it as its next "
        "version of that name and serves it after a restart. The server must have an API key. Repeat an "
        "interrupted push: a version that the server has already is found again.",
    )
    verb.add_argument(
        "folder",
        type=existing_path,
        metavar="FOLDER",
        help="folder of the version, such as model_repo/mine/3",
    )
    verb.add_argument("--name", metavar="NAME", help="name of the model on the server; default: its own name")
    add_server_arguments(verb, inherited=True)
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, _push)


def _push(args: argparse.Namespace, client: Client) -> int:
    with tqdm(unit="B", unit_scale=True, disable=True if args.json else None) as progress:

        def sent(n_sent: int, n_bytes: int) -> None:
            progress.total = n_bytes
            progress.update(n_sent - progress.n)  # negative when a busy server gets all of it again

        pushed = client.push_model(args.folder, args.name, on_progress=sent)
    if args.json:
        out_json(asdict(pushed))
    else:
        out(_outcome(pushed))
        out(_next_step(pushed, client))
    return 0


def _outcome(pushed: PushedVersion) -> str:
    title, size = f"{pushed.name}/{pushed.version}", format_bytes(pushed.n_bytes)
    if pushed.created:
        return f"{title} is published on the server: {pushed.n_files} files, {size}"
    return f"{title} is on the server already, with the same {pushed.n_files} files, {size}"


def _next_step(pushed: PushedVersion, client: Client) -> str:
    if pushed.active:
        return "it serves now"
    served = client.version().model
    if served is not None and served.name != pushed.name:
        return f"the server serves {served.name}: start it with --model {pushed.name} to serve this version"
    return "restart the server to serve the newest version"
