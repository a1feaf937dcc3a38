"""What every command that speaks to a server has in common: its options and its client."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diptych_client import ApiError, Client
from diptych_client.errors import api_error
from diptych_client.transport import DEFAULT_TIMEOUT_S, DEFAULT_URL


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """--url, --api-key, --timeout-s and --json."""
    group = parser.add_argument_group("server")
    url = os.environ.get("DIPTYCH_URL") or DEFAULT_URL
    shown_url = url.replace("%", "%%")  # argparse formats its help texts
    group.add_argument("--url", default=url, help=f"where the server is (DIPTYCH_URL; now {shown_url})")
    group.add_argument(
        "--api-key",
        default=os.environ.get("DIPTYCH_API_KEY") or None,
        metavar="KEY",
        help="its key; better given as DIPTYCH_API_KEY, since other users of a machine see command lines",
    )
    group.add_argument(
        "--timeout-s",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"longest wait for the network, in seconds (default {DEFAULT_TIMEOUT_S:g})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def add_collection_argument(parser: argparse.ArgumentParser) -> None:
    """--collection; None leaves the choice to the server."""
    parser.add_argument(
        "--collection",
        default=os.environ.get("DIPTYCH_DEFAULT_COLLECTION") or None,
        metavar="NAME",
        help="the collection (DIPTYCH_DEFAULT_COLLECTION; else the server's default)",
    )


def run_with_client(
    args: argparse.Namespace,
    action: Callable[[argparse.Namespace, Client], int],
    names: Mapping[str, str] | None = None,
) -> int:
    """The exit status of `action`, given a client of the server.

    `names` says what to call the items that a refusal may name: ``images[3]: ...`` -> ``cats/tom.png: ...``.
    """
    with Client(args.url, args.api_key, args.timeout_s) as client:
        try:
            return action(args, client)
        except ApiError as error:
            name = (names or {}).get(error.item or "")
            if name is None:
                raise
            raise api_error(replace(error.problem, item=name)) from None


def names_of_images(images: Sequence[Path]) -> dict[str, str]:
    """Each image of a call is called by its file."""
    return {f"images[{index}]": str(file) for index, file in enumerate(images)}
