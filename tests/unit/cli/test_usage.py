"""Wrong usage: the reason is the first line, and names what was wrong."""

import pytest

from diptych.cli import main


@pytest.mark.parametrize(
    ("arguments", "prog", "reason"),
    [
        (["serve", "--no-such-flag"], "diptych serve", "unrecognized arguments: --no-such-flag"),
        (["serve", "--port", "x"], "diptych serve", "--port: Input should be a valid integer"),
        (["serach"], "diptych", "argument COMMAND: invalid choice: 'serach', did you mean 'search'?"),
        (
            ["models", "activte"],
            "diptych models",
            "argument push|activate|rollback|cancel|compare|suggest: invalid choice: ",
        ),
        ([], "diptych", "the following arguments are required: COMMAND"),
        (["check", "a/b"], "diptych check", "'a/b' is not of the form"),
        (
            ["classify", "--labels", "a,b", "cat.png"],
            "diptych classify",
            "unrecognized arguments: --labels, did you mean --labels-file?",
        ),
        (
            ["search", "--coll=pets", "cat"],
            "diptych search",
            "unrecognized arguments: --coll=pets, did you mean --collapse or --collection?",
        ),
        (
            ["search", "--json", "cat", "--colection", "pets"],
            "diptych search",
            "unrecognized arguments: --colection",
        ),
        (["models", "--js"], "diptych models", "unrecognized arguments: --js, did you mean --json?"),
        (["check", "--a\nb"], "diptych check", "unrecognized arguments: --a\ufffdb"),
    ],
)
def test_first_line_of_a_usage_error_is_the_reason(
    arguments: list[str],
    prog: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith(f"{prog}: error: {reason}")
    assert second == f"see `{prog} --help`"
