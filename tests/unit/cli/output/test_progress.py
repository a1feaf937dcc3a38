"""Progress of work in several parts: a bar for each on a terminal, nothing elsewhere."""

import io

import pytest

from diptych.cli.output.progress import ProgressBars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(bars: ProgressBars) -> None:
    with bars:
        bars.begin("copying images", 2_000)
        bars.advance(1_999)
        bars.advance()
        bars.begin("checking the database", 5)
        bars.advance(5)


def test_each_part_has_its_own_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    work(ProgressBars(hidden=False))
    last_of_each = [line.split("\r")[-1] for line in terminal.getvalue().strip().split("\n")]
    assert len(last_of_each) == 2
    assert last_of_each[0].startswith("copying images: 100%")
    assert "2.00k/2.00k" in last_of_each[0]
    assert last_of_each[1].startswith("checking the database: 100%")


@pytest.mark.parametrize(("stream", "hidden"), [(io.StringIO, False), (Terminal, True)])
def test_nothing_is_drawn_without_a_terminal_or_when_hidden(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], hidden: bool
) -> None:
    written = stream()
    monkeypatch.setattr("sys.stderr", written)
    work(ProgressBars(hidden=hidden))
    assert written.getvalue() == ""
