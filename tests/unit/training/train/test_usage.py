"""Wrong usage of `diptych-train`: the first line is the reason."""

import pytest

from diptych_training.cli import main


@pytest.mark.parametrize(
    ("arguments", "prog", "reason"),
    [
        (["models", "--no-such-flag"], "diptych-train models", "unrecognized arguments: --no-such-flag"),
        (
            ["export", "--nam", "mine"],
            "diptych-train export",
            "unrecognized arguments: --nam, did you mean --name?",
        ),
        (["data", "pack"], "diptych-train data pack", "the following arguments are required"),
        (["trian"], "diptych-train", "argument COMMAND: invalid choice: 'trian'"),
    ],
)
def test_first_line_is_the_reason(
    arguments: list[str], prog: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{prog}: error: {reason}")
    assert second == f"see `{prog} --help`"
