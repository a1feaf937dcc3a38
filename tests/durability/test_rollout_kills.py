"""A server that is killed during a rollout serves a consistent version afterwards, with a complete index.

Each kill is followed by a start on the same folder, whose content is checked before the next kill.
"""

import itertools
import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych.failpoints import ROLLOUT_POINTS, VARIABLE
from support.fixtures import model_repo_fixture
from support.rolling_clients import ALL, TOLERANCE, numbered_picture
from support.tiny_bundle import TINY
from support.version_vectors import VersionVectors
from support.warm_server import WarmServer, WarmServers

VERSIONS = (1, 2, 3)  # one more than are kept, so that each rollout forgets vectors
KILLS_AT_POINT = 5
# Each state is a commit: waiting, discovered, embedding, compared, active.
SWITCHED_BUT_NOT_RECORDED = ("rollout_commit.before", 5)
ONE_EACH = (
    ("rollout_load.after", 1),
    ("bundle_rename.before", 1),
    ("embed_commit.after", 1),
    ("switch_commit.before", 1),
    ("switch_commit.after", 1),
    SWITCHED_BUT_NOT_RECORDED,
    ("forget_commit.before", 1),
)
ENDS_WITHIN_S = 300
MOST_IMAGES = 40
MOST_ANSWERS = 30  # of one life, before it is killed
FLAGS = ("--precision", "fp32", "--rollout", "manual")
AT_FULL_SPEED = {"diptych.core.rollout.pacing.MIN_SHARE": 1}
SEED = 20261129
C = "default"

model_repo = model_repo_fixture({}, {"seed": 1}, {"seed": 2})


class Story:
    """One data folder through many starts and kills of the server, and what the server has acknowledged."""

    def __init__(self, warm: WarmServers, data_dir: Path) -> None:
        self._warm = warm
        self._data_dir = data_dir
        self._expected = {one: VersionVectors(warm.model_repo, TINY, one) for one in VERSIONS}
        self._random = random.Random(SEED)
        self._numbers = itertools.count()
        self.n_answers = 0
        self.images: dict[str, int] = {}  # the number of the picture, by id
        self.doubtful: dict[str, int] = {}  # what was being added or deleted at the moment of a kill
        self.wanted: set[int] = {max(VERSIONS)}  # the versions that may be active in the end
        with self._served(FLAGS) as http:
            for _ in range(3):
                self._add(http, 8)
            # The other two versions have been active once.
            for version in (1, 2):
                self._activate(http, version)
                self._wait_for_rollouts(http)

    def die_at(self, point: str, n: int) -> None:
        """Roll over and write until the server kills itself at a failpoint; then check its content."""
        server = self._start({VARIABLE: f"{point}:{n}"})
        url = server.url_when_ready()
        if url is not None:  # it may end while it starts
            with self._writing(url), httpx.Client(base_url=url, timeout=30) as http:
                self._roll_over(http, server, point)
        assert server.wait() == -signal.SIGKILL, server.log_file.read_text()
        self.check_content()

    def die_at_random(self) -> None:
        """Roll over and write, and kill the server at a random moment; then check its content."""
        server = self._start({})
        url = server.url_when_ready()
        assert url is not None, server.log_file.read_text()
        with self._writing(url), httpx.Client(base_url=url, timeout=30) as http:
            self._activate(http, self._next())
            enough, deadline = self.n_answers + self._random.randint(0, MOST_ANSWERS), _deadline()
            while self.n_answers < enough:
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.001)
            time.sleep(self._random.uniform(0, 0.05))
            server.kill()
        assert server.wait() == -signal.SIGKILL, server.log_file.read_text()
        self.check_content()

    def check_content(self) -> None:
        """The server is complete at once, and after its rollouts have ended with the wanted version."""
        with self._served(FLAGS) as http:
            self._settle_doubtful(http)
            self._require_complete(http)
            self._wait_for_rollouts(http)
            active = self._active(http)
            assert (self._require_complete(http), self._embeds_with(http)) == (active, active)
            assert active in self.wanted
            self.wanted = {active}

    def _next(self) -> int:
        return max(self.wanted) % len(VERSIONS) + 1

    def _roll_over(self, http: httpx.Client, server: WarmServer, point: str) -> None:
        """Activate one version after the other until the server has ended."""
        deadline = _deadline()
        try:
            while not server.has_ended():
                assert time.monotonic() < deadline, f"{point} was never reached"
                self._activate(http, self._next())
                self._wait_for_rollouts(http)
        except httpx.TransportError:
            return

    def _activate(self, http: httpx.Client, version: int) -> None:
        self.wanted = {*self.wanted, version}
        answer = http.post(f"/models/{TINY}/versions/{version}/activate")
        assert answer.is_success, answer.text
        self.wanted = {version}

    def _wait_for_rollouts(self, http: httpx.Client) -> None:
        deadline = _deadline()
        while running := [one for one in _json(http, "/rollouts")["rollouts"] if not one["finished_at"]]:
            assert time.monotonic() < deadline, running
            time.sleep(0.01)
        failed = [one for one in _json(http, "/rollouts")["rollouts"] if one["state"] == "failed"]
        assert failed == []

    @contextmanager
    def _served(self, flags: tuple[str, ...]) -> Iterator[httpx.Client]:
        server = self._warm.start(self._data_dir, *flags, constants=AT_FULL_SPEED)
        url = server.url_when_ready()
        assert url is not None, server.log_file.read_text()
        try:
            with httpx.Client(base_url=url, timeout=30) as http:
                yield http
        finally:
            server.kill()
            server.wait()

    def _start(self, environment: dict[str, str]) -> WarmServer:
        return self._warm.start(self._data_dir, *FLAGS, environment=environment, constants=AT_FULL_SPEED)

    @contextmanager
    def _writing(self, url: str) -> Iterator[None]:
        """Add and delete images in a thread until the server has ended."""
        failures: list[BaseException] = []

        def write() -> None:
            try:
                with httpx.Client(base_url=url, timeout=30) as http:
                    while True:
                        self._write(http)
            except httpx.TransportError:
                return
            except BaseException as failure:  # raised below
                failures.append(failure)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if failures:
            raise failures[0]

    def _write(self, http: httpx.Client) -> None:
        if len(self.images) >= MOST_IMAGES or (self.images and self._random.random() < 0.3):
            self._delete(http, self._random.choice(sorted(self.images)))
        else:
            self._add(http, self._random.randint(1, 3))
        self.n_answers += 1

    def _add(self, http: httpx.Client, n_images: int) -> None:
        fresh = {f"i{next(self._numbers)}": self._random.randrange(100) for _ in range(n_images)}
        self.doubtful = dict(fresh)
        files: list[Any] = [("image", ("x", numbered_picture(n))) for n in fresh.values()]
        files.append(("items", (None, json.dumps([{"id": id} for id in fresh]))))
        answer = http.post(f"/collections/{C}/images", files=files)
        assert {one["status"] for one in answer.json()["outcomes"]} == {"created"}, answer.text
        self.images |= fresh
        self.doubtful = {}

    def _delete(self, http: httpx.Client, id: str) -> None:
        self.doubtful = {id: self.images.pop(id)}
        answer = http.delete(f"/collections/{C}/images/{id}")
        assert answer.status_code == 204, answer.text
        self.doubtful = {}

    def _settle_doubtful(self, http: httpx.Client) -> None:
        """What was not acknowledged is there or not: from now on it stays so."""
        for id, n in self.doubtful.items():
            answer = http.get(f"/collections/{C}/images/{id}")
            assert answer.status_code in {200, 404}
            if answer.status_code == 200:
                self.images[id] = n
        self.doubtful = {}

    def _require_complete(self, http: httpx.Client) -> int:
        """Every image is found, by vectors of the version that is named; return that version."""
        told = _json(http, f"/collections/{C}")
        assert (told["state"], told["n_images"]) == ("ready", len(self.images)), told
        answer = http.post("/search", json={"query": {"text": "red"}, "k": ALL, "exact": True})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        expected = self._expected[found["model"]["version"]]
        cosines = {hit["id"]: hit["cosine"] for hit in found["hits"]}
        assert cosines.keys() == self.images.keys()
        for id, n in self.images.items():
            wanted = float(expected.text("red") @ expected.image(numbered_picture(n)))
            assert abs(cosines[id] - wanted) < TOLERANCE, (id, found["model"])
        return int(found["model"]["version"])

    def _active(self, http: httpx.Client) -> int:
        (model,) = _json(http, "/models")["models"]
        return int(model["active"])

    def _embeds_with(self, http: httpx.Client) -> int:
        """The version of an embedding, which is that of the version's own graph."""
        told = http.post("/embed", json={"input": [{"text": "red"}]}).json()
        version = int(told["model"]["version"])
        wanted = self._expected[version].text("red")
        assert told["data"][0]["embedding"] == pytest.approx(wanted, abs=TOLERANCE)
        return version


def _deadline() -> float:
    return time.monotonic() + ENDS_WITHIN_S


def _json(http: httpx.Client, path: str) -> Any:
    answer = http.get(path)
    assert answer.is_success, answer.text
    return answer.json()


def test_kills_during_a_rollout_leave_a_version_with_a_complete_index(
    warm: WarmServers, tmp_path: Path
) -> None:
    story = Story(warm, tmp_path)
    for point, n in ONE_EACH:
        story.die_at(point, n)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("point", ROLLOUT_POINTS)
def test_five_kills_at_every_point_of_a_rollout(warm: WarmServers, tmp_path: Path, point: str) -> None:
    story = Story(warm, tmp_path)
    for n in range(KILLS_AT_POINT):
        story.die_at(point, 1 + n)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_hundred_kills_at_random_moments_of_a_rollout(warm: WarmServers, tmp_path: Path) -> None:
    story = Story(warm, tmp_path)
    for _ in range(100):
        story.die_at_random()
    assert story.n_answers > 100
