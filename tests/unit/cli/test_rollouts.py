"""The bar of a rollout: state, images, rate and time left on a terminal, a line for each state elsewhere."""

import io
from dataclasses import replace

import pytest

from diptych.cli.rollouts import RolloutBar, print_rollout
from diptych_client import Rollout, RolloutProgress, VersionRef

VERIFIED = Rollout("r1", VersionRef("mine", 4), "verified", "2026-01-01T00:00:00Z")
EMBEDDING = Rollout(
    "r1",
    VersionRef("mine", 4),
    "embedding",
    "2026-01-01T00:00:00Z",
    progress=RolloutProgress(1_000, 250, 66.25, 75.0),
)


WAITING = replace(VERIFIED, state="compared", reason="waits for diptych web-2")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(bar: RolloutBar) -> None:
    with bar:
        for rollout in (VERIFIED, EMBEDDING, EMBEDDING):
            bar.show(rollout)


def test_terminal_shows_state_images_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    shown(RolloutBar(hidden=False))
    drawn = terminal.getvalue().split("\r")
    assert any(line.strip() == "mine/4: verified" for line in drawn)
    (last,) = drawn[-1].strip().splitlines()
    assert last.startswith("mine/4: embedding:  25%|")
    assert last.endswith("| 250 of 1000 images, 66.2 images/s, 01:15 left")


@pytest.mark.parametrize(
    ("stream", "hidden", "written"),
    [(io.StringIO, False, "mine/4: verified\nmine/4: embedding\n"), (Terminal, True, "")],
)
def test_elsewhere_each_state_is_a_line_unless_hidden(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], hidden: bool, written: str
) -> None:
    stderr = stream()
    monkeypatch.setattr("sys.stderr", stderr)
    shown(RolloutBar(hidden=hidden))
    assert stderr.getvalue() == written


def test_servers_that_are_waited_for_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with RolloutBar(hidden=False) as bar:
        for rollout in (replace(WAITING, reason=""), WAITING, WAITING, replace(WAITING, state="cancelled")):
            bar.show(rollout)
    assert capsys.readouterr().err.splitlines() == [
        "mine/4: compared",
        "mine/4: compared, waits for diptych web-2",
        "mine/4: cancelled",
    ]
    print_rollout(WAITING)
    assert "compared, waits for diptych web-2; " in capsys.readouterr().out
