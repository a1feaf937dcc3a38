"""Folders, device and time-out of every command are variables too; a flag wins over its variable."""

import argparse
from collections.abc import Iterator

import pytest

from diptych import cli as serving
from diptych_training import cli as training

VARIABLES = {
    "--model-repo": ("DIPTYCH_MODEL_REPO", "/elsewhere/models"),
    "--runs-dir": ("DIPTYCH_RUNS_DIR", "/elsewhere/runs"),
    "--data": ("DIPTYCH_DATA", "/elsewhere/data"),
    "--device": ("DIPTYCH_DEVICE", "cpu"),
    "--timeout-s": ("DIPTYCH_TIMEOUT_S", "7"),
    "--url": ("DIPTYCH_URL", "http://elsewhere:1"),
    "--api-key": ("DIPTYCH_API_KEY", "correct horse"),
    "--collection": ("DIPTYCH_DEFAULT_COLLECTION", "pets"),
}
BY_SETTINGS = {
    "diptych serve",
    "diptych check",
    "diptych collections export",
}  # which read the variables when they run
PREFERS_OTHERS = {  # to the variable
    ("diptych-train export", "--data"),  # the proof set of the run's start
    ("diptych-train calibrate", "--data"),  # the proof set alone
    ("diptych models compare", "--collection"),  # all collections
}

WITHOUT = {
    ("diptych keys create", "--collection"),  # what a key sees, which no variable may narrow
    ("diptych-train refresh", "--collection"),  # a URL
}


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from commands(child)


def flags() -> list[tuple[str, str]]:
    """(command, flag) of every flag that names a place, a device or a server."""
    return [
        (command.prog, flag)
        for build in (serving.build_parser, training.build_parser)
        for command in commands(build())
        for flag in command._option_string_actions
        if flag in VARIABLES and command.prog not in BY_SETTINGS and (command.prog, flag) not in WITHOUT
    ]


@pytest.mark.parametrize(("command", "flag"), flags())
def test_flag_has_its_variable_as_default(command: str, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable, value = VARIABLES[flag]
    monkeypatch.setenv(variable, value)
    build = training.build_parser if command.startswith("diptych-train") else serving.build_parser
    parsers = {one.prog: one for one in commands(build())}
    action = parsers[command]._option_string_actions[flag]
    if action.default is argparse.SUPPRESS:  # a verb leaves the default to its command
        action = parsers[command.rpartition(" ")[0]]._option_string_actions[flag]
    assert action.default is None if (command, flag) in PREFERS_OTHERS else str(action.default) == value
    assert variable in (action.help or "")
