"""A rollout of a large collection."""

import asyncio
from pathlib import Path

from integration.large_indexes import index_files, opened, until_saved
from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1})
N = 30


def test_index_of_the_new_version_is_trained_before_the_switch_and_the_former_one_stays(
    model_repo: Path, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"

    async def first() -> None:
        async with opened(model_repo, data_dir, min_rows=N) as store:
            for n in range(N):
                await store.add("default", noise(n), f"image-{n}")
            await until_saved(store)

    async def rolled() -> None:
        async with opened(model_repo, data_dir, min_rows=N, tend_s=1_000) as store:
            former = store.pair().index.vectors
            await store.activate(TINY, 2)
            now = store.pair().index.vectors
            assert now is not former
            assert now.placement.kind == "ivf"
            assert index_files(data_dir) == [".ivf", ".ivf", ".rows", ".rows"]
            await store.activate(TINY, 1)
            assert store.pair().index.vectors is former

    async def dropped() -> None:
        async with opened(model_repo, data_dir, min_rows=N) as store:
            await store.collections.drop("default")
            await until(lambda: not index_files(data_dir))

    for story in (first, rolled, dropped):
        asyncio.run(story())
