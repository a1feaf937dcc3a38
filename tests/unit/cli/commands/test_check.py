"""`diptych check`: its arguments."""

import pytest

from diptych.cli import main
from support.command_line import Capture


@pytest.mark.parametrize("model", ["tiny/one", "tiny/1/2", "/1", "tiny/"])
def test_check_takes_only_names_and_versions(model: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check", model])
    assert f"error: {model!r} is not of the form NAME or NAME/VERSION" in capsys.readouterr().err
