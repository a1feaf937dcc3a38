"""A server that is killed while clients write keeps what it acknowledged, and nothing else.

Each kill is followed by a start on the same folder, whose content is checked before the next kill.
"""

import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from diptych.failpoints import POINTS, VARIABLE
from durability.inspect_server import settle_all
from durability.journal import Journal
from durability.load import Load
from support.fixtures import model_repo_fixture
from support.warm_server import WarmServer, WarmServers

COLLECTIONS = ["a", "b", "c", "d"]
KILLS_AT_POINT = 5
REACHED_WITHIN_S = 60
FIXED = ("--precision", "fp32")  # so that no start measures precisions, and each goes back to this one
MOST_ANSWERS = 30  # of one life, before it is killed
SEED = 20261125

model_repo = model_repo_fixture({"precisions": {"fp32": "equal", "int8": "rounded"}})


class Story:
    """One data folder and its journal, through many starts and kills of the server."""

    def __init__(self, warm: WarmServers, data_dir: Path, *flags: str) -> None:
        self._warm = warm
        self._data_dir = data_dir
        self._flags = (*FIXED, *flags)
        self._random = random.Random(SEED)
        self._n_lives = 0
        self.journal = Journal()

    def die_at_random(self) -> None:
        """Start the server, check its content, write, and kill it at a random moment."""
        server = self._warm.start(self._data_dir, *self._flags)
        url = self._ready(server)
        settle_all(url, self._data_dir, self.journal, COLLECTIONS, thorough=False)
        load = self._write(url)
        self._wait_for_answers(self._random.randint(1, MOST_ANSWERS))
        time.sleep(self._random.uniform(0, 0.02))
        server.kill()
        load.end()
        _assert_killed(server)

    def die_at(self, point: str, n: int) -> None:
        """Start a server that kills itself at a failpoint, and write until it does.

        The content is checked before by another server, so that only writes reach the failpoint.
        """
        self.check_content()
        server = self._warm.start(self._data_dir, *self._flags, environment={VARIABLE: f"{point}:{n}"})
        url = server.url_when_ready()
        if url is not None:  # it may end while it starts
            load = self._write(url)
            _wait_for_the_end(server, point)
            load.end()
        _assert_killed(server)

    def write_beside(self, trouble: Callable[[], None], constants: Mapping[str, float]) -> None:
        """Start the server and write, with trouble meanwhile that the server gets over by itself.

        The content is checked before: a write that was in flight when the last server was killed may have
        taken place.
        """
        self.check_content()
        server = self._warm.start(self._data_dir, *self._flags, constants=constants)
        load = self._write(self._ready(server))
        self._wait_for_answers(MOST_ANSWERS)
        trouble()
        self._wait_for_answers(MOST_ANSWERS)
        load.end()
        server.kill(signal.SIGTERM)
        assert server.wait() == 0

    def check_content(self) -> None:
        """Check that all acknowledged content is there and that the server stops cleanly."""
        server = self._warm.start(self._data_dir, *self._flags)
        url = self._ready(server)
        settle_all(url, self._data_dir, self.journal, COLLECTIONS, thorough=True)
        rollouts = httpx.get(f"{url}/rollouts").json()["rollouts"]
        assert [one for one in rollouts if one["state"] == "failed"] == []
        server.kill(signal.SIGTERM)
        assert server.wait() == 0

    def _write(self, url: str) -> Load:
        self._n_lives += 1
        return Load(url, self.journal, COLLECTIONS, f"life{self._n_lives}")

    def _wait_for_answers(self, n: int) -> None:
        """Wait for `n` answers, so that a slow machine does as much work before a kill as a fast one."""
        enough, deadline = self.journal.n_acknowledged + n, time.monotonic() + REACHED_WITHIN_S
        while self.journal.n_acknowledged < enough:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.001)

    def _ready(self, server: WarmServer) -> str:
        url = server.url_when_ready()
        assert url is not None, server.log_file.read_text()
        return url


def _assert_killed(server: WarmServer) -> None:
    assert server.wait() == -signal.SIGKILL, server.log_file.read_text()


def _wait_for_the_end(server: WarmServer, kill_at: str) -> None:
    deadline = time.monotonic() + REACHED_WITHIN_S
    while not server.has_ended():
        assert time.monotonic() < deadline, f"{kill_at} was never reached"
        time.sleep(0.01)


def test_kills_at_random_moments_lose_nothing_and_bring_nothing_back(
    warm: WarmServers, tmp_path: Path
) -> None:
    die_at_random_moments(warm, tmp_path, n_kills=5)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_kills_at_random_moments(warm: WarmServers, tmp_path: Path) -> None:
    die_at_random_moments(warm, tmp_path, n_kills=200)


def die_at_random_moments(warm: WarmServers, data_dir: Path, n_kills: int) -> None:
    story = Story(warm, data_dir)
    for _ in range(n_kills):
        story.die_at_random()
    story.check_content()
    assert story.journal.n_acknowledged > 5 * n_kills


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", POINTS)
def test_kills_at_every_point_lose_nothing_and_bring_nothing_back(
    warm: WarmServers, tmp_path: Path, point: str
) -> None:
    if point.startswith("migration_commit"):  # reached by the first start of a folder only
        for n in range(KILLS_AT_POINT):
            server = warm.start(tmp_path / str(n), *FIXED, environment={VARIABLE: f"{point}:1"})
            assert server.url_when_ready() is None
            _assert_killed(server)
            Story(warm, tmp_path / str(n)).check_content()
        return
    story = Story(warm, tmp_path)
    for n in range(KILLS_AT_POINT):
        story.die_at(point, 1 + n * 4)
    story.check_content()
