"""Arguments that several commands have, and types of arguments for argparse."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from diptych.cli.output.console import printable
from diptych.settings import PREFIX, read_settings
from diptych_client import ImageUrl
from diptych_client.transport import DEFAULT_TIMEOUT_S, default_url


def add_data_dir_argument(parser: Any) -> None:
    """Add --data-dir, as `diptych serve` has it."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help=f"folder of collections ({PREFIX}DATA_DIR)"
    )


def chosen_data_dir(args: argparse.Namespace) -> Path:
    """Return the folder of --data-dir, or else that of the settings. Raises ConfigError."""
    return read_settings({} if args.data_dir is None else {"data_dir": args.data_dir}).data_dir


def existing_path(text: str) -> Path:
    """Type of an argument that names an existing file or folder."""
    if not os.path.exists(text):  # noqa: PTH110 - Path.exists raises if a parent folder cannot be entered
        raise argparse.ArgumentTypeError(f"{printable(text)}: no such file or folder")
    return Path(text)


def add_server_arguments(parser: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """Add --url, --api-key, --timeout-s and --json. `args.usage_error` prints a message and exits with 2.

    `inherited` is for a verb of a command that has them too: they may then stand before the verb or after it.
    """
    group = parser.add_argument_group("server")
    url = default_url()
    shown_url = url.replace("%", "%%")  # argparse formats its help texts
    about = f"URL of the server (DIPTYCH_URL, or else DIPTYCH_HOST and DIPTYCH_PORT; now {shown_url})"
    added = [
        group.add_argument("--url", default=url, help=about),
        group.add_argument(
            "--api-key",
            default=os.environ.get("DIPTYCH_API_KEY") or None,
            metavar="KEY",
            help="API key of the server; prefer DIPTYCH_API_KEY, since other users can see command lines",
        ),
        group.add_argument(
            "--timeout-s",
            type=float,
            default=os.environ.get("DIPTYCH_TIMEOUT_S") or DEFAULT_TIMEOUT_S,
            metavar="S",
            help="longest wait for the network, in seconds (DIPTYCH_TIMEOUT_S, or else "
            f"{DEFAULT_TIMEOUT_S:g})",
        ),
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of text"),
    ]
    if inherited:
        for action in added:  # a default of the verb would replace what stands before the verb
            action.default = argparse.SUPPRESS
    parser.set_defaults(usage_error=parser.error)


def add_collection_argument(parser: argparse.ArgumentParser) -> None:
    """Add --collection. Without it the server uses its default collection."""
    parser.add_argument(
        "--collection",
        default=os.environ.get("DIPTYCH_DEFAULT_COLLECTION") or None,
        metavar="NAME",
        help="the collection (DIPTYCH_DEFAULT_COLLECTION, or else the server's default)",
    )


def image_source(text: str) -> Path | ImageUrl:
    """Type of an argument that is an image: a file, or a URL that the server fetches."""
    return ImageUrl(text) if text.lower().startswith("https://") else existing_path(text)


def json_object(text: str) -> dict[str, Any]:
    """Type of an argument that is a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text[:100]!r} must be an object, such as {{"album": "pets"}}')
    return value
