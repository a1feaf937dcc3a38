"""`diptych serve`: run the server. One flag for each setting."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from diptych import failpoints
from diptych.cli.output.shell_completion import Values, complete_with
from diptych.cli.process.variables import misspelt_setting
from diptych.errors import ConfigError
from diptych.settings import PREFIX, Settings, read_settings

_GROUPS = {  # by the setting that begins each
    "host": "where it listens",
    "model_repo": "what it serves",
    "data_dir": "what it keeps",
    "image_urls": "what it fetches",
    "n_threads": "how it runs",
    "max_image_bytes": "how large one request may be",
}
_REPEATED = {"libraries": "--library"}  # a flag for each value, which may then hold a comma
_FILES = {"key_file", "tls_cert", "tls_key"}
SubParsers = Any  # argparse keeps the class of add_subparsers() private


def add_parser(subparsers: SubParsers) -> None:
    """Declare one flag per setting. Each setting is also an environment variable."""
    parser = subparsers.add_parser(
        "serve",
        help="run the server",
        description="Run the server. Every flag has an environment variable: --model-repo is "
        "DIPTYCH_MODEL_REPO.",
    )
    group = parser
    for name, field in Settings.model_fields.items():
        if name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[name])
        flag = _flag(name)
        about = f"{field.description} ({PREFIX}{name.upper()}{_default(field.default)})".replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(flag, help=about, action=argparse.BooleanOptionalAction)
        else:
            metavar = name.rpartition("_")[2].upper()
            if name in _REPEATED:
                about, metavar = f"{about}; as a flag one folder, which can be repeated", "NAME=FOLDER"
            action = group.add_argument(
                flag,
                dest=name,
                help=about,
                metavar=metavar,
                action="append" if name in _REPEATED else "store",
            )
            complete_with(action, _values_of(name, field.annotation))
    parser.set_defaults(run=run, usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal stops the server, and return the exit status."""
    # Only this command and check need the model runtime. The others start without loading it.
    from diptych.cli.process.server import serve  # noqa: PLC0415

    if complaint := misspelt_setting(os.environ):
        args.usage_error(complaint)
    given = {name: value for name in Settings.model_fields if (value := getattr(args, name)) is not None}
    try:
        settings = read_settings(given)
    except ConfigError as error:
        message = _with_flags(str(error), given)
        if message == str(error):
            raise
        args.usage_error(message)
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    return serve(settings)


def _values_of(name: str, annotation: Any) -> Values:
    """The values that a shell offers for a flag."""
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    if annotation is Path or Path in get_args(annotation):
        return "files" if name in _FILES else "folders"
    return "other"


def _flag(name: str) -> str:
    return _REPEATED.get(name, f"--{name.replace('_', '-')}")


def _with_flags(message: str, given: Iterable[str]) -> str:
    """Replace the variable of each setting that was given as a flag by that flag."""
    for name in given:
        message = message.replace(f"{PREFIX}{name.upper()}: ", f"{_flag(name)}: ")
    return message


def _default(value: object) -> str:
    shown = (
        value is not None
        and not isinstance(value, bool)
        and value != ()
        and repr(value) != "PydanticUndefined"
    )
    return f", default {value}" if shown else ""
