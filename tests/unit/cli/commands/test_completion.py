"""`diptych completion`: what a shell offers, asked of the shell itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from diptych.cli import main
from support.command_line import Capture

ASK_BASH = """
eval "$(cat script)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_diptych
((${#COMPREPLY[@]})) && printf '%s\\n' "${COMPREPLY[@]}"
exit 0
"""


def script(shell: str, capsys: Capture) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path, capsys: Capture) -> Path:
    """Return a folder with files to complete, and the script for bash."""
    (tmp_path / "my pictures").mkdir()
    (tmp_path / "metadata.jsonl").touch()
    (tmp_path / "script").write_text(script("bash", capsys))
    return tmp_path


def offered(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    asked = subprocess.run(
        ["bash", "--norc", "-c", ASK_BASH, "bash", "diptych", *words],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stderr == ""
    return asked.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["se"], ["serve", "search"]),
        (["search", "--coll"], ["--collapse", "--collection"]),
        (["serve", "--device", "c"], ["cpu", "cuda"]),
        (["add", "--metadata", "meta"], ["metadata.jsonl"]),
        (["serve", "--data-dir", ""], ["my pictures"]),
        (["search", "-k", ""], []),
    ],
)
def test_bash_offers_commands_flags_choices_and_files(
    folder: Path, words: list[str], found: list[str]
) -> None:
    assert sorted(offered(folder, *words)) == sorted(found)


def test_every_flag_of_every_command_is_offered(folder: Path, capsys: Capture) -> None:
    for command in (["serve"], ["search"], ["add"], ["models", "activate"], ["collections", "create"]):
        with pytest.raises(SystemExit, match="0"):
            main([*command, "--help"])
        shown = {
            word.strip(",[]") for word in capsys.readouterr().out.split() if word.lstrip("[").startswith("--")
        }
        flags = {word for word in shown if word.replace("-", "").isalnum()}
        assert flags - {"--"} <= {*offered(folder, *command, "--")}, command


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(shell: str, tmp_path: Path, capsys: Capture) -> None:
    text = script(shell, capsys)
    assert "models activate" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(text)
    checked = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
