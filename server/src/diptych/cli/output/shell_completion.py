"""Completion scripts for shells, made of the parsers of all commands.

The scripts know commands, flags, choices and which values are files; they start no program.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Literal

Values = Literal["files", "folders", "none", "other"] | tuple[str, ...]  # none: a flag without a value

_FOLDERS, _FILES = ("DIR", "FOLDER"), ("FILE", "IMAGE", "ARCHIVE")

_BASH = """\
_diptych() {
  local current=$${COMP_WORDS[COMP_CWORD]} previous=$${COMP_WORDS[COMP_CWORD-1]} command= word= i
  local IFS=$$' \\t\\n' words= values=
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=$${COMP_WORDS[i]}
    case "$$command $$word" in
      $paths) command="$${command:+$$command }$$word" ;;
    esac
  done
  case "$$command:$$previous" in
$flags
    *)
      case "$$command" in
$commands
      esac ;;
  esac
  if [[ $$current == -* && $$words ]]; then values= ; COMPREPLY=($$(compgen -W "$$words" -- "$$current"))
  elif [[ $$values != : ]]; then COMPREPLY=($$(compgen -W "$$values" -- "$$current"))
  fi
  case "$$values" in
    :files|:folders)
      compopt -o filenames 2>/dev/null
      IFS=$$'\\n'
      if [[ $$values == :files ]]; then COMPREPLY=($$(compgen -f -- "$$current"))
      else COMPREPLY=($$(compgen -d -- "$$current"))
      fi ;;
  esac
}
complete -F _diptych diptych
"""
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"
_FISH = """\
function __diptych_command
  set -l command
  for word in (commandline -opc)[2..-1]
    switch "$$command $$word"
      case $paths
        set command (string trim "$$command $$word")
    end
  end
  echo $$command
end
function __diptych_at
  set -l found (__diptych_command)
  test "$$found" = "$$argv"
end
complete -c diptych -f
$lines
"""


_FISH_FOLDERS = "-a '(__fish_complete_directories)'"
_FISH_PLACES = {"files": "-F", "folders": _FISH_FOLDERS}
_FISH_VALUES = {"none": " ", "other": "-x", "files": "-r -F", "folders": f"-x {_FISH_FOLDERS}"}


@dataclass(frozen=True)
class _Flag:
    names: Sequence[str]
    help: str
    values: Values


@dataclass(frozen=True)
class _Command:
    """A command. `path` is empty for the whole program."""

    path: str
    flags: Sequence[_Flag]
    commands: Mapping[str, str]  # inside it, with their help
    values: Values  # what stands after it


def complete_with(action: argparse.Action, values: Values) -> None:
    """Say what the values of an argument are, where its parser does not know."""
    action.completion = values  # type: ignore[attr-defined]


def bash_script(commands: argparse.Action) -> str:
    """Return the script for bash; `commands` are the subparsers of the program."""
    found = list(_commands(commands))
    flags = [line for one in found for line in _bash_flags(one)]
    lines = [
        f'        "{one.path}") words="{" ".join(name for flag in one.flags for name in flag.names)}"'
        f' values="{_bash_values(tuple(one.commands) or one.values)}" ;;'
        for one in found
    ]
    paths = "|".join(f'"{_above(one.path)}"' for one in found if one.path)
    return Template(_BASH).substitute(paths=paths, flags="\n".join(flags), commands="\n".join(lines))


def zsh_script(commands: argparse.Action) -> str:
    """Return the script for zsh, which runs that for bash."""
    return _ZSH + bash_script(commands)


def fish_script(commands: argparse.Action) -> str:
    """Return the script for fish, with a description of each command and flag."""
    found = list(_commands(commands))
    lines = [line for one in found for line in _fish_lines(one)]
    paths = " ".join(_fish_quoted(_above(one.path)) for one in found if one.path)
    return Template(_FISH).substitute(paths=paths, lines="\n".join(lines))


def _commands(
    commands: argparse.Action, path: Sequence[str] = (), flags: Sequence[_Flag] = ()
) -> Iterator[_Command]:
    """The program or command with these subparsers, and all commands inside it."""
    parsers: Mapping[str, argparse.ArgumentParser] = commands.choices  # type: ignore[assignment]
    helps = {one.dest: one.help or "" for one in commands._get_subactions()}  # type: ignore[attr-defined]
    general = flags or [_Flag(("-h", "--help"), "show help", "none")]
    yield _Command(" ".join(path), general, {name: helps.get(name, "") for name in parsers}, "other")
    for name, parser in parsers.items():
        actions = [one for one in parser._actions if one.help != argparse.SUPPRESS]
        own = [
            _Flag(one.option_strings, one.help or "", _values_of(one))
            for one in actions
            if one.option_strings
        ]
        below = next((one for one in actions if isinstance(one, argparse._SubParsersAction)), None)
        if below is not None:
            yield from _commands(below, [*path, name], own)
            continue
        places = [one for one in actions if not one.option_strings]
        yield _Command(" ".join([*path, name]), own, {}, _values_of(places[0]) if places else "other")


def _values_of(action: argparse.Action) -> Values:
    known: Values | None = getattr(action, "completion", None)
    if known is not None:
        return known
    if action.choices is not None:
        return tuple(map(str, action.choices))
    if action.option_strings and action.nargs == 0:
        return "none"
    metavar = str(action.metavar or action.dest).upper()
    if any(word in metavar for word in _FILES):
        return "files"
    return "folders" if any(word in metavar for word in _FOLDERS) else "other"


def _above(path: str) -> str:
    """The command above and the last word, with one space between them: " serve", "models activate"."""
    above, _, last = path.rpartition(" ")
    return f"{above} {last}"


def _bash_flags(command: _Command) -> Iterator[str]:
    """The flags of a command that have a value, by what the value is."""
    for values in dict.fromkeys(flag.values for flag in command.flags if flag.values != "none"):
        names = [name for flag in command.flags if flag.values == values for name in flag.names]
        patterns = "|".join(f'"{command.path}:{name}"' for name in names)
        yield f'    {patterns}) values="{_bash_values(values)}" ;;'


def _bash_values(values: Values) -> str:
    match values:
        case "files" | "folders":
            return f":{values}"
        case str():
            return ":"
        case _:
            return " ".join(values)


def _fish_lines(command: _Command) -> Iterator[str]:
    begin = f"complete -c diptych -n '__diptych_at {command.path}'"
    for name, help in command.commands.items():
        yield f"{begin} -a {_fish_quoted(name)} -d {_fish_quoted(help)}"
    if not command.commands and command.values not in {"none", "other"}:
        yield f"{begin} {_FISH_PLACES.get(str(command.values)) or _fish_words(command.values)}"
    for flag in command.flags:
        names = " ".join(
            f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names
        )
        values = _FISH_VALUES.get(str(flag.values)) or f"-x {_fish_words(flag.values)}"
        yield f"{begin} {names} {values} -d {_fish_quoted(flag.help.replace('%%', '%'))}"


def _fish_words(words: Sequence[str]) -> str:
    return f"-a {_fish_quoted(' '.join(words))}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
