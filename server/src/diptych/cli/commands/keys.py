"""`diptych keys`: create, list and revoke the API keys of a server, running or not."""

import argparse
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from diptych.cli.arguments import add_data_dir_argument
from diptych.cli.output.console import err, out, out_json, out_table
from diptych.core.keys.key import SCOPES, Key, new_key
from diptych.errors import ConfigError, InvalidValue, NotFound
from diptych.settings import PREFIX, Settings, read_settings
from diptych.wiring.keys import key_file_of

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DURATION = re.compile(r"([1-9][0-9]{0,4})([hdw])")


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command and of its verbs."""
    parser = subparsers.add_parser(
        "keys",
        help="create, list and revoke API keys",
        description="Create, list and revoke the API keys of a server. A running server accepts and refuses "
        "them within two seconds; it is not asked, so run this on its machine, as its user or as root.",
    )
    verbs = parser.add_subparsers(required=True, metavar="create|list|revoke")
    _add_create(verbs)
    _add_verb(verbs, "list", _list, "list all keys, without what they are sent as")
    revoke = _add_verb(verbs, "revoke", _revoke, "refuse a key from now on")
    revoke.add_argument("prefix", metavar="PREFIX", help="the 8 characters behind `dpt_`, as `list` has them")


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    given = {"data_dir": args.data_dir, "key_file": args.key_file, "insecure": True}  # no host is opened
    settings = read_settings({name: value for name, value in given.items() if value is not None})
    status: int = args.action(args, settings)
    return status


def _add_create(verbs: Any) -> None:
    parser = _add_verb(verbs, "create", _create, "make a key; its token is printed once, and kept nowhere")
    parser.add_argument("--name", required=True, help="whose key it is, for people and for the log")
    parser.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=SCOPES,
        help="what it may do: write includes read, admin includes both",
    )
    parser.add_argument(
        "--collection",
        action="append",
        dest="collections",
        metavar="NAME",
        help="a collection that it sees; repeat it for more. Without it, the key sees all collections",
    )
    parser.add_argument(
        "--expires",
        type=_expiry,
        metavar="WHEN",
        help="end of its life: 12h, 90d, 8w, or a date such as 2030-01-31; never without it",
    )


def _add_verb(verbs: Any, name: str, action: Any, about: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=f"{about.capitalize()}.")
    add_data_dir_argument(verb)
    verb.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"file of the keys ({PREFIX}KEY_FILE), if it is not in the data folder",
    )
    verb.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    verb.set_defaults(run=run, action=action)
    return verb


def _create(args: argparse.Namespace, settings: Settings) -> int:
    try:
        key, token = new_key(args.name, args.scope, collections=args.collections, expires_at=args.expires)
    except InvalidValue as error:
        flags = {"scopes": "scope", "collections": "collection", "expires_at": "expires"}
        raise error.named(f"--{flags.get(error.item or '', error.item)}") from None
    if settings.key_file is not None:  # a data folder is made
        _require_folder(settings)
    key_file_of(settings).add(key)
    if args.json:
        out_json(_json_of(key, None) | {"key": token})
        return 0
    out(token)
    err(
        f"{key.name}: {', '.join(key.scopes)} on {_collections(key)}, expires {_time(key.expires_at)}, "
        f"in {settings.key_file_path}. Keep the key above: it is not shown again."
    )
    return 0


def _list(args: argparse.Namespace, settings: Settings) -> int:
    _require_folder(settings)
    file = key_file_of(settings)
    keys, uses = file.read(), file.last_uses()
    if keys is None:
        err(f"there is no key file {settings.key_file_path}: no key was ever made there")
        keys = []
    if args.json:
        out_json([_json_of(key, uses.get(key.prefix)) for key in keys])
        return 0
    header = ["prefix", "name", "scopes", "collections", "created", "expires", "last used"]
    rows = [
        [
            *(key.prefix, key.name, ", ".join(key.scopes), _collections(key)),
            *(_time(key.created_at), _expiry_of(key), _time(uses.get(key.prefix))),
        ]
        for key in keys
    ]
    out_table(header, rows, ["left"] * len(header))
    return 0


def _revoke(args: argparse.Namespace, settings: Settings) -> int:
    _require_folder(settings)
    try:
        key = key_file_of(settings).remove(args.prefix)
    except NotFound as error:
        raise NotFound(f"{error.message} in {settings.key_file_path}") from None
    if args.json:
        out_json(_json_of(key, None))
    else:
        out(f"{key.prefix}: the key of {key.name} is revoked")
    return 0


def _require_folder(settings: Settings) -> None:
    """Raise ConfigError where the folder of the key file is not there."""
    if not settings.key_file_path.parent.is_dir():
        raise ConfigError(f"there is no folder {settings.key_file_path.parent}")


def _expiry(text: str) -> datetime:
    """Type of an argument that is a duration from now, or a time. A date means its beginning in UTC."""
    if match := _DURATION.fullmatch(text):
        return (datetime.now(UTC) + int(match[1]) * _UNITS[match[2]]).replace(microsecond=0)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is neither a duration such as 90d nor a date such as 2030-01-31"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _collections(key: Key) -> str:
    return "all collections" if key.collections is None else ", ".join(sorted(key.collections))


def _expiry_of(key: Key) -> str:
    expired = " (expired)" if key.has_expired(datetime.now(UTC)) else ""
    return _time(key.expires_at) + expired


def _time(time: datetime | None) -> str:
    return "never" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _json_of(key: Key, last_used_at: datetime | None) -> dict[str, object]:
    times = {"created_at": key.created_at, "expires_at": key.expires_at, "last_used_at": last_used_at}
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scopes": key.scopes,
        "collections": None if key.collections is None else sorted(key.collections),
        **{name: None if time is None else time.isoformat() for name, time in times.items()},
    }
