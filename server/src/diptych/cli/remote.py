"""What every command that speaks to a server has in common: its options and its client."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from diptych.cli.path_argument import existing
from diptych.core.types import SERVER
from diptych_client import ApiError, Client, Conflict, ImageUrl, InvalidCall, NotFound
from diptych_client.errors import api_error
from diptych_client.transport import DEFAULT_TIMEOUT_S, default_url


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """--url, --api-key, --timeout-s and --json; `args.usage` ends the command as argparse does, with 2."""
    group = parser.add_argument_group("server")
    url = default_url()
    shown_url = url.replace("%", "%%")  # argparse formats its help texts
    about = f"where the server is (DIPTYCH_URL; else by DIPTYCH_HOST and DIPTYCH_PORT; now {shown_url})"
    group.add_argument("--url", default=url, help=about)
    group.add_argument(
        "--api-key",
        default=os.environ.get("DIPTYCH_API_KEY") or None,
        metavar="KEY",
        help="its key; better given as DIPTYCH_API_KEY, since other users of a machine see command lines",
    )
    group.add_argument(
        "--timeout-s",
        type=float,
        default=os.environ.get("DIPTYCH_TIMEOUT_S") or DEFAULT_TIMEOUT_S,
        metavar="S",
        help=f"longest wait for the network, in seconds (DIPTYCH_TIMEOUT_S; else {DEFAULT_TIMEOUT_S:g})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.set_defaults(usage=parser.error)


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
    with _client(args) as client:
        try:
            return action(args, client)
        except ApiError as error:
            name = (names or {}).get(error.item or "")
            if name is None:
                raise
            raise api_error(replace(error.problem, item=name)) from None


def _client(args: argparse.Namespace) -> Client:
    try:
        return Client(args.url, args.api_key, args.timeout_s)
    except InvalidCall as error:
        name, _, complaint = str(error).partition(" ")  # such as `timeout_s is 0, must be more than 0`
        args.usage(f"--{name.replace('_', '-')} {complaint}")
        raise AssertionError("usage ends the command") from error


def image_source(text: str) -> Path | ImageUrl:
    """An argument that is an image: a file, or a URL that the server is to fetch."""
    return ImageUrl(text) if text.lower().startswith("https://") else existing(text)


def names_of_images(images: Sequence[Path | ImageUrl]) -> dict[str, str]:
    """Each image of a call is called by its file or URL."""
    return {f"images[{index}]": str(file) for index, file in enumerate(images)}


def ensure_collection(client: Client, name: str, precision: str = SERVER) -> None:
    """Make the collection if there is none, of this precision; one that is there stays as it is."""
    try:
        client.collection(name)
    except NotFound:
        try:
            client.create_collection(name, precision=precision)
        except Conflict:  # another one made it in between
            return
