"""Labels are those of the version that answers: a switch changes them, a rollback brings them back."""

import asyncio

import pytest

from diptych.core.labels import service
from diptych.core.labels.label_set import Definition, Label, NewVerdict
from diptych.core.labels.service import LabelPage, LabelQuery
from integration.store_parts import COLOURS, Opened, Run, add_colours
from integration.version_parts import Held
from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.tiny_bundle import TINY

model_repo = model_repo_fixture({}, {"seed": 1})
KIND = Definition(tuple(map(Label, COLOURS)))


async def labels(opened: Opened) -> LabelPage:
    return await opened.label_sets.images("default", "kind", LabelQuery(limit=100))


def test_labels_follow_a_rollout_and_come_back_without_encoding(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        for seed in range(4):
            await opened.add("default", noise(seed), f"noise-{seed}")
        await opened.label_sets.put("default", "kind", KIND)
        await opened.label_sets.give("default", "kind", [NewVerdict("red", ())], "ann")
        first = await labels(opened)
        await opened.activate(TINY, 2)
        second = await labels(opened)
        held = Held(opened)
        await opened.activate(TINY, 1)
        back = await labels(opened)
        assert not held.entered.is_set()
        held.go_on()
        assert [page.model.version for page in (first, second, back)] == [1, 2, 1]
        assert back.images == first.images != second.images
        for page in (first, second):
            (red,) = (image for image in page.images if image.id == "red")
            assert (red.assignment.labels, red.assignment.proposed) == ((), ("red",))

    run(story)


def test_export_goes_on_with_the_labels_of_its_beginning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "EXPORTED_AT_ONCE", 1)

    async def change(opened: Opened) -> None:
        await opened.label_sets.put("default", "kind", Definition((Label("thing"),)), drops=True)

    async def roll_over(opened: Opened) -> None:
        await opened.activate(TINY, 2)

    async def drop(opened: Opened) -> None:
        await opened.label_sets.drop("default", "kind")

    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.label_sets.put("default", "kind", KIND)
        whole = [one async for one in opened.label_sets.export("default", "kind", LabelQuery())]
        assert len(whole) == len(COLOURS)
        for meanwhile in (roll_over, drop):
            pages = opened.label_sets.export("default", "kind", LabelQuery())
            begun = [await anext(pages)]
            await change(opened)
            await meanwhile(opened)
            assert [*begun, *[one async for one in pages]] == whole
            if meanwhile is roll_over:
                await opened.activate(TINY, 1)
                await opened.label_sets.put("default", "kind", KIND)

    run(story)


def test_callers_at_once_share_one_pass_over_the_vectors(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.label_sets.put("default", "kind", KIND)
        vectors, n_reads = opened.records.vectors, 0
        since = vectors.since

        def counted(*args: object) -> object:
            nonlocal n_reads
            n_reads += 1
            return since(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(vectors, "since", counted)
        pages = await asyncio.gather(*(labels(opened) for _ in range(5)))
        assert n_reads == 1
        assert all(page == pages[0] for page in pages)
        await labels(opened)
        assert n_reads == 1

    run(story)


def test_image_that_is_added_meanwhile_has_a_label_once_it_is_acknowledged(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.label_sets.put("default", "kind", KIND)

        async def look_often() -> None:
            while True:
                await labels(opened)

        looking = asyncio.create_task(look_often())
        for seed in range(5):
            await opened.add("default", noise(seed), f"noise-{seed}")
            assert f"noise-{seed}" in {image.id for image in (await labels(opened)).images}
            assert not looking.done()
        looking.cancel()

    run(story)
