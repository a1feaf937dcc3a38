"""`diptych models activate`, `rollback` and `cancel`: move the running server to another version."""

import argparse
from typing import Any

from diptych.argument_parser import name_hint
from diptych.cli.arguments import add_server_arguments
from diptych.cli.output.console import err
from diptych.cli.remote import run_with_client
from diptych.cli.rollouts import add_follow_flag, finish_rollout
from diptych.errors import NotFound
from diptych_client import Client

_FOLLOW = "wait for the end and show the progress (the default); the server goes on without it, too"


def add_verbs(verbs: Any) -> None:
    """Declare the arguments of the verbs."""
    activate = _verb(
        verbs,
        "activate",
        _activate,
        "move the running server to a version",
        "What serves now serves on until the version is proven and all images are embedded for it.",
    )
    activate.add_argument("name", metavar="NAME", help="the model")
    activate.add_argument(
        "version", metavar="VERSION", type=int, nargs="?", help="its version; default: the newest"
    )
    rollback = _verb(
        verbs,
        "rollback",
        _rollback,
        "move the running server back to the version that it served before",
        "The switch is immediate if no images were added since; otherwise these are embedded first.",
    )
    activate.add_argument(
        "--precision",
        metavar="NAME",
        help="of all vectors from then on, such as int8; default: the recorded one",
    )
    activate.add_argument(
        "--despite-labels",
        action="store_true",
        help="even if it agrees less with people on their label sets: see `diptych models compare` first",
    )
    for verb in (activate, rollback):
        add_follow_flag(verb, default=True, about=_FOLLOW)
    cancel = _verb(verbs, "cancel", _cancel, "cancel a rollout", "What served before the rollout serves on.")
    cancel.add_argument("id", metavar="ID", nargs="?", help="the rollout; default: the one under way")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, args.action)


def _verb(verbs: Any, name: str, action: Any, about: str, more: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=about, description=f"{about.capitalize()}. {more}"
    )
    add_server_arguments(verb, inherited=True)
    verb.set_defaults(run=run, action=action)
    return verb


def _activate(args: argparse.Namespace, client: Client) -> int:
    version = _newest(client, args.name) if args.version is None else args.version
    rollout = client.activate(
        args.name, version, precision=args.precision, despite_labels=args.despite_labels
    )
    return finish_rollout(client, rollout, follow=args.follow, as_json=args.json)


def _newest(client: Client, name: str) -> int:
    """The newest version of the model that the server can serve. Raises NotFound."""
    models = {model.name: model for model in client.models()}
    if name not in models:
        raise NotFound(f"no model named {name!r}; {name_hint(name, sorted(models))}")
    servable = set(models[name].versions) - {one.version for one in models[name].ignored}
    if not servable:
        raise NotFound(f"the server has no version of {name} that it can serve")
    return max(servable)


def _rollback(args: argparse.Namespace, client: Client) -> int:
    previous = client.rollout_status().previous
    if previous is None:
        err("diptych: the server keeps no version to go back to")
        return 1
    rollout = client.activate(
        previous.name, previous.version, precision=previous.precision or None, despite_labels=True
    )
    return finish_rollout(client, rollout, follow=args.follow, as_json=args.json)


def _cancel(args: argparse.Namespace, client: Client) -> int:
    id = args.id
    if id is None:
        under_way = client.rollout_status().rollout
        if under_way is None:
            err("diptych: no rollout is under way")
            return 1
        id = under_way.id
    finish_rollout(client, client.cancel_rollout(id), follow=False, as_json=args.json)
    return 0
