"""`diptych serve`: errors in flags and variables."""

import pytest

from diptych.cli import main
from support.command_line import Capture


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "abc"], "--port: Input should be a valid integer"),
        (["--port", "99999"], "--port: Input should be less than or equal to 65535"),
        (["--device", "foo"], "--device: Input should be 'auto', 'cpu' or 'cuda'"),
        (["--api-key", "s3cret"], "--api-key: needs at least 8 characters, this key has 6"),
    ],
)
def test_invalid_flag_value_is_wrong_usage_and_names_the_flag(
    arguments: list[str], complaint: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", *arguments])
    assert f"diptych serve: error: {complaint}" in capsys.readouterr().err


def test_invalid_variable_is_named_as_a_variable(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("DIPTYCH_PORT", "abc")
    assert main(["serve", "--model", "tiny"]) == 1
    assert capsys.readouterr().err.startswith("diptych: DIPTYCH_PORT: Input should be a valid integer")
