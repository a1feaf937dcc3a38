"""A standby that lagged takes over: what it lacks is told, and nothing of it is mixed with what follows."""

from pathlib import Path

import httpx

from support.callers import wait_until
from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.postgres import cluster
from support.several_servers import Common, Replica

model_repo = model_repo_fixture({})


LOST = "has lost writes that were acknowledged"


def refusal(replica: Replica) -> str:
    """Why the server is not ready; empty if it is, or gives no answer."""
    try:
        found = replica.client.get("/readyz")
    except httpx.TransportError:
        return ""
    return found.text if found.status_code == 503 else ""


def test_writes_that_a_promoted_standby_lacks_are_told_and_the_rest_is_served(
    model_repo: Path, tmp_path: Path
) -> None:
    with cluster(is_durable=True) as primary, cluster(is_durable=True, primary=primary) as standby:
        url = primary.url("pictures", standby=standby)
        common = Common(model_repo, url, tmp_path)
        with common.replicas(2) as (one, other):
            assert one.client.post("/collections", json={"name": "pets"}).status_code == 201
            one.add("pets", ("a", noise(1)), ("b", noise(2)))
            wait_until(lambda: standby.execute("SELECT count(*) FROM pictures.images") == [(2,)])
            standby.stop()
            other.add("pets", ("lost", noise(3)))
            assert sorted(one.find("pets")) == ["a", "b", "lost"]

            primary.stop()
            assert "diptych_database_available 0.0" in one.client.get("/metrics").text
            standby.start()
            standby.promote()

            for replica in (one, other):
                wait_until(lambda one=replica: LOST in refusal(one))
                refused = replica.client.delete("/collections/pets/images/a")
                assert refused.status_code == 503
                assert LOST in refused.json()["detail"]
        with common.replicas(2) as (one, other):
            assert sorted(one.find("pets")) == ["a", "b"]
            other.add("pets", ("new", noise(4)))
            for replica in (one, other):
                assert sorted(replica.find("pets")) == ["a", "b", "new"]
                original = replica.client.get("/collections/pets/images/new/original")
                assert original.content == noise(4)
