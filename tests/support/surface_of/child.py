"""Runs within a checkout: `child.py MODULE FILE LINES` writes what its command line takes, as JSON.

LINES is a JSON list of command lines whose exit statuses are asked.
"""

import argparse
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

Json = dict[str, Any]
PARSERS: list[argparse.ArgumentParser] = []


def main(module: str, file: Path, lines: list[list[str]]) -> None:
    real = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = recorded  # type: ignore[method-assign, assignment]
    status(module)
    argparse.ArgumentParser.parse_args = real  # type: ignore[method-assign]
    commands = {parser.prog: parser for parser in commands_of(PARSERS[0])}
    program = PARSERS[0].prog
    for command in commands.keys() - {name.rpartition(" ")[0] for name in commands}:
        lines += [[*command.split()[1:], flag] for flag in ("--help", "--no-such-flag")]
    found: Json = {
        "commands": {name: flags(parser) for name, parser in commands.items()},
        "exit statuses": {" ".join([program, *line]): status(module, *line) for line in lines},
    }
    if module == "diptych":
        found |= {"settings": settings(), "openapi": openapi(file.with_name("openapi.json"))}
    file.write_text(json.dumps(found, default=str))


def recorded(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
    PARSERS.append(parser)
    sys.exit()


def status(module: str, *arguments: str) -> int:
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def commands_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from commands_of(child)


def flags(parser: argparse.ArgumentParser) -> Json:
    """Each flag by its names, each positional argument by its place."""
    found: Json = {}
    for action in parser._actions:
        name = " ".join(action.option_strings) or f"argument {sum(one[0] != '-' for one in found) + 1}"
        values = {
            "default": None if action.default is argparse.SUPPRESS else action.default,
            "choices": None if action.choices is None else sorted(map(str, action.choices)),
            "type": action.type.__name__ if action.type in (int, float, str, Path) else None,
            **{"nargs": action.nargs, "required": action.required, "const": action.const},
        }
        found[name] = {key: value for key, value in values.items() if value not in (None, False)}
    return found


def settings() -> Json:
    from diptych.settings import Settings  # noqa: PLC0415  only where the server is

    described = Settings.model_json_schema()
    for name, field in Settings.model_fields.items():
        described["properties"][name]["default"] = field.get_default(call_default_factory=True)
    return {**described, "prefix": Settings.model_config["env_prefix"]}


def openapi(file: Path) -> Json:
    assert status("diptych.http.openapi", str(file)) == 0
    described: Json = json.loads(file.read_text())
    return described


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
