"""Backup of collections in PostgreSQL: pg_dump, and a copy of the originals, restored elsewhere."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.fixtures import model_repo_fixture
from support.object_store import Store
from support.pictures import noise, picture
from support.postgres import Cluster
from support.several_servers import Common, Replica

model_repo = model_repo_fixture({})
IMAGES = "/collections/pets/images"

Copy = Callable[[Common], Common]


@pytest.fixture(params=["folder", "bucket"])
def common_and_copy(
    request: pytest.FixtureRequest, model_repo: Path, postgres_cluster: Cluster, tmp_path: Path
) -> tuple[Common, Copy]:
    """What servers have in common, and what copies its originals."""
    common = Common(model_repo, postgres_cluster.url(), tmp_path / "first")
    common.folder.mkdir()
    (tmp_path / "second").mkdir()
    if request.param == "folder":

        def copied(common: Common) -> Common:
            copy = replace(common, folder=tmp_path / "second")
            shutil.copytree(common.originals, copy.originals)
            return copy

        return common, copied
    store: Store = request.getfixturevalue("object_store")
    bucket = store.bucket()

    def copied_bucket(common: Common) -> Common:
        return replace(common, folder=tmp_path / "second", bucket=f"s3://{store.copied(bucket)}")

    return replace(common, bucket=f"s3://{bucket}", environment=store.environment), copied_bucket


def answers(server: Replica) -> list[object]:
    """All that a client sees of the collection."""
    listed = server.client.get(IMAGES).json()["images"]
    return [
        listed,
        server.find("pets"),
        server.find("pets", filter={"kind": "new"}),
        server.find("pets", filter={"label": {"set": "kind", "in": ["blue"]}}),
        [server.client.get(f"{IMAGES}/{one['id']}/original").content for one in listed],
        server.client.get("/collections/pets/label-sets/kind").json(),
    ]


def test_restored_dump_and_copied_originals_hold_the_same_answers(
    common_and_copy: tuple[Common, Copy], postgres_cluster: Cluster
) -> None:
    common, copied = common_and_copy
    with common.replica("data") as server:
        server.client.post("/collections", json={"name": "pets"})
        server.add("pets", *((f"n{i}", noise(i)) for i in range(5)))
        server.add("pets", ("a", picture("red")), ("b", picture("blue")), kind="new")
        assert server.client.put(
            "/collections/pets/label-sets/kind", json={"labels": ["red", "blue"]}
        ).is_success
        verdict = {"verdicts": [{"id": "a", "labels": ["blue"]}]}
        judged = server.client.post("/collections/pets/label-sets/kind/verdicts", json=verdict)
        assert judged.is_success, judged.text
        expected = answers(server)
        dumped = postgres_cluster.copied(common.url)  # while it is served
        server.add("pets", ("later", noise(9)))
        copy = copied(common)  # after the dump: it has all that the database knows
    with replace(copy, url=dumped).replica("data") as restored:
        assert answers(restored) == expected
        restored.add("pets", ("c", noise(7)))
        assert len(restored.find("pets")) == 8
