"""What every command that speaks to a server has in common: its options and its client."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from diptych_client import ApiError, Client
from diptych_client.errors import api_error
from diptych_client.transport import DEFAULT_TIMEOUT_S, DEFAULT_URL


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """--url, --api-key, --timeout-s and --json."""
    group = parser.add_argument_group("server")
    url = os.environ.get("DIPTYCH_URL") or DEFAULT_URL
    group.add_argument("--url", default=url, help=f"where the server is (DIPTYCH_URL; now {url})")
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


def run_with_client(args: argparse.Namespace, action: Callable[[argparse.Namespace, Client], int]) -> int:
    """The exit status of `action`, given a client of the server. A refused image is named by its file."""
    with Client(args.url, args.api_key, args.timeout_s) as client:
        try:
            return action(args, client)
        except ApiError as error:
            raise _naming_the_file(error, getattr(args, "images", [])) from None


def _naming_the_file(error: ApiError, images: Sequence[Path]) -> ApiError:
    """The error with the file in place of its number: ``images[3]: ...`` -> ``cats/tom.png: ...``."""
    numbered = re.match(r"images\[(\d+)\]", error.item or "")
    if numbered is None:
        return error
    return api_error(replace(error.problem, item=str(images[int(numbered[1])])))
