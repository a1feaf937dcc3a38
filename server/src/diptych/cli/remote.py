"""Run a command with a client of the server, and what such commands share."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from diptych.argument_parser import name_hint
from diptych_client import ApiError, Client, ClientError, Conflict, ImageUrl, InvalidCall, NotFound
from diptych_client.errors import api_error

_NO_COLLECTION = re.compile(r"no collection named '(.*)'")


def run_with_client(
    args: argparse.Namespace,
    action: Callable[[argparse.Namespace, Client], int],
    names: Mapping[str, str] | None = None,
) -> int:
    """Call `action` with a client of the server and return its exit status.

    `names` maps the items that an error may name to names that the user knows: ``images[3]: ...`` becomes
    ``cats/tom.png: ...``.
    """
    with _client(args) as client:
        try:
            return action(args, client)
        except ApiError as error:
            item = (names or {}).get(error.item or "", error.item)
            detail = error.detail + _collection_hint(error.detail, client)
            raise api_error(replace(error.problem, item=item, detail=detail)) from None


def _collection_hint(detail: str, client: Client) -> str:
    """Say which collections there are, of those that the user may see, if the server knows no such one."""
    absent = _NO_COLLECTION.fullmatch(detail)
    if absent is None:
        return ""
    with suppress(ClientError):
        known = sorted(one.name for one in client.collections())
        return f"; {name_hint(absent[1], known)}" if known else "; `diptych add` makes collections"
    return ""


def _client(args: argparse.Namespace) -> Client:
    try:
        return Client(args.url, args.api_key, args.timeout_s)
    except InvalidCall as error:
        name, _, complaint = str(error).partition(" ")  # such as `timeout_s is 0, must be more than 0`
        args.usage_error(f"--{name.replace('_', '-')} {complaint}")
        raise AssertionError("usage ends the command") from error


def names_of_images(images: Sequence[Path | ImageUrl]) -> dict[str, str]:
    """Name each image of a call by its file or URL."""
    return {f"images[{index}]": str(file) for index, file in enumerate(images)}


def ensure_collection(client: Client, name: str) -> None:
    """Create the collection unless it exists. An existing one stays as it is."""
    try:
        client.collection(name)
    except NotFound:
        try:
            client.create_collection(name)
        except Conflict:  # someone else created it in between
            return
