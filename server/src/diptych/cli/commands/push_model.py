"""`diptych models push`: send a model version to the server, which then moves to it."""

import argparse
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from diptych.cli.arguments import add_server_arguments, existing_path
from diptych.cli.output.console import format_bytes, out, out_json
from diptych.cli.remote import run_with_client
from diptych.cli.rollouts import add_follow_flag, exit_status, follow_rollout, print_rollout
from diptych_client import Client, PushedVersion, RolloutStatus

ACTIVATE = "diptych models activate"


def add_verb(verbs: Any) -> None:
    """Declare the arguments of the verb."""
    verb = verbs.add_parser(
        "push",
        help="send a model version to the server",
        description="Send a model version to a server on another machine, which publishes it as its next "
        "version of that name and then moves to it, unless its policy is manual or pinned. The server must "
        "have an API key. Repeat an interrupted push: a version that the server has already is found again.",
    )
    verb.add_argument(
        "folder",
        type=existing_path,
        metavar="FOLDER",
        help="folder of the version, such as model_repo/mine/3",
    )
    verb.add_argument("--name", metavar="NAME", help="name of the model on the server; default: its own name")
    verb.add_argument("--no-activate", action="store_true", help="publish it only")
    add_follow_flag(verb, default=True, about="wait until it serves and show the progress (the default)")
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
    if not args.json:
        out(_outcome(pushed))
    status = client.rollout_status()
    rollout = None
    if status.policy == "latest" and not (args.no_activate or pushed.active):
        rollout = client.activate(pushed.name, pushed.version)
    if rollout is not None and args.follow:
        rollout = follow_rollout(client, rollout, hidden=args.json)
    if args.json:
        out_json({**asdict(pushed), "rollout": None if rollout is None else asdict(rollout)})
    elif rollout is not None:
        print_rollout(rollout)
    else:
        out(_next_step(pushed, status))
    return 0 if rollout is None else exit_status(rollout)


def _outcome(pushed: PushedVersion) -> str:
    title, size = f"{pushed.name}/{pushed.version}", format_bytes(pushed.n_bytes)
    if pushed.created:
        return f"{title} is published on the server: {pushed.n_files} files, {size}"
    return f"{title} is on the server already, with the same {pushed.n_files} files, {size}"


def _next_step(pushed: PushedVersion, status: RolloutStatus) -> str:
    """How a version that was not activated comes to serve."""
    if pushed.active:
        return "it serves now"
    if status.policy is not None:
        return f"to serve it (the policy is {status.policy}): {ACTIVATE} {pushed.name} {pushed.version}"
    if status.active is not None and status.active.name != pushed.name:
        return (
            f"the server is of an older diptych and serves {status.active.name}: start it with --model "
            f"{pushed.name} to serve this version"
        )
    return "the server is of an older diptych: restart it to serve the newest version"
