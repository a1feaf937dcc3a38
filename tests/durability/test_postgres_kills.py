"""A server with PostgreSQL keeps what it acknowledged, whoever is killed: the server or the database."""

from pathlib import Path

import pytest

from diptych.failpoints import POINTS
from durability.test_kills import KILLS_AT_POINT, Story
from support.fixtures import model_repo_fixture
from support.postgres import Cluster
from support.warm_server import WarmServers

END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'diptych%'"
PATIENT = {"diptych.adapters.postgres.retries.RETRY_S": 120.0}  # a busy machine starts a database slowly
OF_THE_DATABASE = [point for point in POINTS if point.startswith(("commit", "job_commit", "answer"))]

model_repo = model_repo_fixture({"precisions": {"fp32": "equal", "int8": "rounded"}})


@pytest.fixture
def story(warm: WarmServers, durable: Cluster, tmp_path: Path) -> Story:
    return Story(warm, tmp_path, "--store", durable.url())


def test_killed_servers_and_databases_lose_nothing_and_bring_nothing_back(
    story: Story, durable: Cluster
) -> None:
    lose_in_turns(story, durable, n_kills=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_fifty_kills_of_servers_and_databases(story: Story, durable: Cluster) -> None:
    lose_in_turns(story, durable, n_kills=50)


def lose_in_turns(story: Story, durable: Cluster, n_kills: int) -> None:
    def end_all() -> None:
        durable.execute(END_ALL)

    for _ in range(n_kills):
        story.die_at_random()
        story.write_beside(durable.crash, PATIENT)
        story.write_beside(end_all, PATIENT)
    story.check_content()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", OF_THE_DATABASE)
def test_kills_at_every_point_lose_nothing_and_bring_nothing_back(story: Story, point: str) -> None:
    for n in range(KILLS_AT_POINT):
        story.die_at(point, 1 + n * 4)
    story.check_content()
