"""What any store must do with label sets and verdicts."""

import pytest

from diptych.core.labels.label_set import Definition, Label, NewVerdict
from diptych.errors import Conflict, InvalidValue, NotFound, TooLarge
from integration.store_contract import Ports, Run, row
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture

COLOURS = Definition((Label("red"), Label("blue", ("sea", "sky"))), min_score=0.25)
MANY = Definition((Label("red"), Label("blue")), "many", ("a {}.",))


def said(id: str, *labels: str) -> NewVerdict:
    return NewVerdict(id, labels)


async def labels_by_key(ports: Ports, number: int) -> dict[int, tuple[str, ...]]:
    return {key: one.labels for key, one in (await ports.labels.verdicts(number)).items()}


def test_sets_are_there_again_after_a_start(run: Run) -> None:
    async def before(ports: Ports) -> None:
        c = await ports.created()
        assert await ports.labels.list(c) == []
        made, n_dropped = await ports.labels.put(c, "two", MANY, drops=False)
        assert (made.name, made.definition, made.revision, n_dropped) == ("two", MANY, 1, 0)
        one, _ = await ports.labels.put(c, "one", COLOURS, drops=False)
        assert (await ports.labels.put(c, "one", COLOURS, drops=False))[0] == one  # no change
        await ports.add(c, "a", "b")
        given = await ports.labels.give(c, "one", [said("a", "red"), said("no", "red"), said("b")], "ann")
        assert ([one.id for one in given.verdicts], given.unknown) == (["a", "b"], ["no"])

    async def after(ports: Ports) -> None:
        (c,) = [one.number for one in await ports.records.catalogue.list()]
        one, two = await ports.labels.list(c)
        assert (one.definition, two.definition) == (COLOURS, MANY)
        found = await ports.labels.verdicts(one.number)
        assert [(one.labels, one.by) for one in found.values()] == [(("red",), "ann"), ((), "ann")]
        assert list(found) == sorted(found) == await ports.records.rows.keys(c, ["a", "b"])
        await ports.labels.drop(c, "one")
        assert await ports.labels.verdicts(one.number) == {}
        again, _ = await ports.labels.put(c, "one", COLOURS, drops=False)
        assert again.number > one.number

    run(before)
    run(after)


def test_verdict_belongs_to_the_bytes_and_the_later_one_stands(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created(), await ports.created("other")
        number = (await ports.labels.put(c, "one", COLOURS, drops=False))[0].number
        a, copy = (one.key for one in await ports.put(c, row("a", "x"), row("copy", "x")))
        await ports.put(other, row("elsewhere", "x"))
        await ports.labels.give(c, "one", [said("a", "red")], "ann")
        (given,) = (await ports.labels.give(c, "one", [said("copy", "blue")], "bob")).verdicts
        assert given.before is not None
        assert (given.before.labels, given.before.by) == (("red",), "ann")
        assert await labels_by_key(ports, number) == {a: ("blue",), copy: ("blue",)}
        await ports.put(c, row("copy", "y"), replace=True)
        assert await labels_by_key(ports, number) == {a: ("blue",)}
        with pytest.raises(NotFound, match="no verdict on image 'copy'"):
            await ports.labels.withdraw(c, "one", "copy")
        (back,) = await ports.put(c, row("copy", "x"), replace=True)
        assert await labels_by_key(ports, number) == {a: ("blue",), back.key: ("blue",)}
        assert (await ports.labels.withdraw(c, "one", "a")).by == "bob"
        assert await labels_by_key(ports, number) == {}

    run(story)


def test_picture_that_was_drawn_stays_so_and_replaced_ones_are_left_out(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        number = (await ports.labels.put(c, "one", COLOURS, drops=False))[0].number
        a, b = (one.key for one in await ports.put(c, row("a", "aa"), row("b", "bb")))
        sha256 = "aa".ljust(64, "0")
        drawn = NewVerdict("a", ("red",), is_drawn=True, sha256=sha256)
        given = await ports.labels.give(c, "one", [drawn, NewVerdict("b", (), sha256=sha256)], "ann")
        assert ([one.id for one in given.verdicts], given.replaced) == (["a"], ["b"])
        await ports.labels.give(c, "one", [said("a", "blue"), said("b", "blue")], "bob")
        found = await ports.labels.verdicts(number)
        assert [(key, one.is_drawn) for key, one in found.items()] == [(a, True), (b, False)]
        assert (found[a].labels, found[a].sha256) == (("blue",), sha256)

    run(story)


def test_verdicts_are_stored_all_or_none(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        number = (await ports.labels.put(c, "one", COLOURS, drops=False))[0].number
        await ports.add(c, "a", "b")
        with pytest.raises(InvalidValue, match="no label 'green'") as refused:
            await ports.labels.give(c, "one", [said("a", "red"), said("b", "green")], "ann")
        assert refused.value.item == "verdicts[1]"
        assert await labels_by_key(ports, number) == {}

    run(story)


def test_change_deletes_only_verdicts_that_it_does_not_allow(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        number = (await ports.labels.put(c, "two", MANY, drops=False))[0].number
        a, b, none = await ports.add(c, "a", "b", "none")
        await ports.labels.give(c, "two", [said("a", "red", "blue"), said("b", "red"), said("none")], "ann")
        one_of = Definition(MANY.labels, "one")
        with pytest.raises(Conflict, match="does not allow 1 of the verdicts"):
            await ports.labels.put(c, "two", one_of, drops=False)
        assert len(await labels_by_key(ports, number)) == 3
        changed, n_dropped = await ports.labels.put(c, "two", one_of, drops=True)
        assert (changed.number, changed.revision, n_dropped) == (number, 2, 1)
        assert await labels_by_key(ports, number) == {b: ("red",), none: ()}
        assert a not in await ports.labels.verdicts(number)

    run(story)


def test_dropped_collection_takes_its_sets_with_it(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        number = (await ports.labels.put(c, "one", COLOURS, drops=False))[0].number
        await ports.add(c, *"abcde")
        await ports.labels.give(c, "one", [said(id, "red") for id in "abcde"], "ann")
        await ports.records.catalogue.drop(c)
        for refused in (ports.labels.list(c), ports.labels.get(c, "one"), ports.labels.drop(c, "one")):
            with pytest.raises(NotFound, match="dropped"):
                await refused
        n_cleared = 0
        while removed := (await ports.records.catalogue.clear(c, 2)).keys:
            n_cleared += len(removed)
        assert n_cleared == 5
        assert await ports.records.catalogue.dropped() == []
        assert await ports.labels.verdicts(number) == {}

    run(story)


def test_number_of_sets_is_limited(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.adapters.sqlite.labels.MAX_SETS", 1)

    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.labels.put(c, "one", COLOURS, drops=False)
        await ports.labels.put(c, "one", MANY, drops=False)
        with pytest.raises(TooLarge, match="1 label sets, the limit is 1"):
            await ports.labels.put(c, "two", MANY, drops=False)

    run(story)
