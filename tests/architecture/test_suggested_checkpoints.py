"""The documentation's table of checkpoints is the one that `diptych models suggest` prints."""

import pytest

from diptych.cli import main
from support.documents import DOCS


def test_table_of_the_documentation_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "suggest"]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    of_the_command = [words for words in printed if len(words) == 8 and words[0].count("/") == 1]
    page = (DOCS / "checkpoints.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    assert [[cell.strip(" `") for cell in row] for row in rows] == of_the_command
