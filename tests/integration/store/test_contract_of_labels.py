"""What any store must do with label sets and verdicts."""

from collections.abc import Mapping

import pytest

from diptych.core.labels.label_set import Definition, Label, NewVerdict, Verdict
from diptych.errors import Conflict, InvalidValue, NotFound, TooLarge
from integration.store_contract import Ports, Run, row
from integration.store_contract import opens as opens  # noqa: PLC0414 - a fixture
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture

COLOURS = Definition((Label("red"), Label("blue", ("sea", "sky"))), min_score=0.25)
MANY = Definition((Label("red"), Label("blue")), "many", ("a {}.",))


def said(id: str, *labels: str) -> NewVerdict:
    return NewVerdict(id, labels)


async def verdicts(ports: Ports, c: int, name: str = "one") -> Mapping[int, Verdict]:
    return (await ports.labels.reviewed(c, name)).verdicts


async def labels_by_key(ports: Ports, c: int, name: str = "one") -> dict[int, tuple[str, ...]]:
    return {key: one.labels for key, one in (await verdicts(ports, c, name)).items()}


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
        found = await verdicts(ports, c)
        assert [(one.labels, one.by) for one in found.values()] == [(("red",), "ann"), ((), "ann")]
        assert list(found) == sorted(found) == await ports.records.rows.keys(c, ["a", "b"])
        await ports.labels.drop(c, "one")
        again, _ = await ports.labels.put(c, "one", COLOURS, drops=False)
        assert await verdicts(ports, c) == {}
        assert again.number > one.number

    run(before)
    run(after)


def test_verdict_belongs_to_the_bytes_and_the_later_one_stands(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created(), await ports.created("other")
        await ports.labels.put(c, "one", COLOURS, drops=False)
        a, copy = (one.key for one in await ports.put(c, row("a", "x"), row("copy", "x")))
        await ports.put(other, row("elsewhere", "x"))
        await ports.labels.give(c, "one", [said("a", "red")], "ann")
        (given,) = (await ports.labels.give(c, "one", [said("copy", "blue")], "bob")).verdicts
        assert given.before is not None
        assert (given.before.labels, given.before.by) == (("red",), "ann")
        assert await labels_by_key(ports, c) == {a: ("blue",), copy: ("blue",)}
        await ports.put(c, row("copy", "y"), replace=True)
        assert await labels_by_key(ports, c) == {a: ("blue",)}
        with pytest.raises(NotFound, match="no verdict on image 'copy'"):
            await ports.labels.withdraw(c, "one", "copy")
        (back,) = await ports.put(c, row("copy", "x"), replace=True)
        assert await labels_by_key(ports, c) == {a: ("blue",), back.key: ("blue",)}
        assert (await ports.labels.withdraw(c, "one", "a")).by == "bob"
        assert await labels_by_key(ports, c) == {a: ("red",), back.key: ("red",)}
        assert (await ports.labels.withdraw(c, "one", "a")).by == "ann"
        assert await labels_by_key(ports, c) == {}

    run(story)


def test_label_of_another_key_that_was_changed_is_kept_until_another_key_speaks(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.labels.put(c, "two", MANY, drops=False)
        (key,) = await ports.add(c, "a")

        async def standing(by: str, *labels: str) -> tuple[Verdict, tuple[str, tuple[str, ...]] | None]:
            await ports.labels.give(c, "two", [said("a", *labels)], by)
            found = (await verdicts(ports, c, "two"))[key]
            return found, found.disputed and (found.disputed.by, found.disputed.labels)

        first, before = await standing("ann", "red", "blue")
        assert before is None
        assert (await standing("ann", "red"))[1] is None  # nobody else's
        changed, before = await standing("bob", "blue")
        assert before == ("ann", ("red",))
        assert (await standing("bob", "blue"))[1] == before  # as by a request that was sent twice
        assert (await standing("bob"))[1] == before
        restored, before = await standing("bob", "red")
        assert (restored.by, restored.labels, before) == ("ann", ("red",), None)
        assert first.at <= restored.at <= changed.at
        assert (await standing("bob", "blue"))[1] == ("ann", ("red",))
        assert (await standing("ann", "red"))[1] == ("bob", ("blue",))  # now bob is the one who was overruled
        agreed, before = await standing("cho", "red")
        assert (agreed.by, before) == ("cho", None)

    run(story)


@pytest.mark.parametrize("labels", [("red",), ("blue",), ()], ids=["insists", "agrees", "says another"])
def test_withdrawn_word_leaves_what_stood_before_with_its_dispute(run: Run, labels: tuple[str, ...]) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.labels.put(c, "one", COLOURS, drops=False)
        await ports.add(c, "a")
        await ports.labels.give(c, "one", [NewVerdict("a", ("red",), is_drawn=True)], "ann")
        await ports.labels.give(c, "one", [said("a", "blue")], "bob")
        contested = await verdicts(ports, c)
        await ports.labels.give(c, "one", [said("a", *labels)], "ann")
        await ports.labels.give(c, "one", [said("a", *labels)], "ann")  # a request that was sent twice
        await ports.labels.withdraw(c, "one", "a")
        assert await verdicts(ports, c) == contested
        await ports.labels.withdraw(c, "one", "a")
        (left,) = (await verdicts(ports, c)).values()
        assert (left.by, left.labels, left.is_drawn, left.disputed) == ("ann", ("red",), True, None)

    run(story)


def test_dropped_verdict_leaves_the_former_word_and_dropped_labels_are_no_former_word(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.labels.put(c, "one", COLOURS, drops=False)
        a, b, _ = await ports.add(c, "a", "b", "d")
        first = [NewVerdict("a", ("red",), is_drawn=True), said("b", "blue"), said("d", "blue")]
        await ports.labels.give(c, "one", first, "ann")
        await ports.labels.give(c, "one", [said("a", "blue"), said("b", "red")], "bob")
        changed = await ports.labels.put(c, "one", Definition((Label("red"), Label("sea"))), drops=True)
        assert changed[1] == 2
        found = await verdicts(ports, c)
        assert {key: (one.by, one.labels, one.is_drawn, one.former) for key, one in found.items()} == {
            a: ("ann", ("red",), True, None),
            b: ("bob", ("red",), False, None),
        }

    run(story)


def test_first_verdict_says_whether_a_picture_was_drawn_and_replaced_ones_are_left_out(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.labels.put(c, "one", COLOURS, drops=False)
        a, b = (one.key for one in await ports.put(c, row("a", "aa"), row("b", "bb")))
        sha256 = "aa".ljust(64, "0")
        drawn = NewVerdict("a", ("red",), is_drawn=True, sha256=sha256)
        given = await ports.labels.give(c, "one", [drawn, NewVerdict("b", (), sha256=sha256)], "ann")
        assert ([one.id for one in given.verdicts], given.replaced) == (["a"], ["b"])
        await ports.labels.give(c, "one", [said("a", "blue"), said("b", "blue")], "bob")
        await ports.labels.give(c, "one", [NewVerdict("b", ("blue",), is_drawn=True)], "bob")
        found = await verdicts(ports, c)
        assert [(key, one.is_drawn) for key, one in found.items()] == [(a, True), (b, False)]
        assert (found[a].labels, found[a].sha256) == (("blue",), sha256)

    run(story)


def test_verdicts_are_stored_all_or_none(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.labels.put(c, "one", COLOURS, drops=False)
        await ports.add(c, "a", "b")
        with pytest.raises(InvalidValue, match="no label 'green'") as refused:
            await ports.labels.give(c, "one", [said("a", "red"), said("b", "green")], "ann")
        assert refused.value.item == "verdicts[1]"
        assert await labels_by_key(ports, c) == {}

    run(story)


def test_change_deletes_only_verdicts_that_it_does_not_allow(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        number = (await ports.labels.put(c, "two", MANY, drops=False))[0].number
        _, b, none = await ports.add(c, "a", "b", "none")
        await ports.labels.give(c, "two", [said("a", "red", "blue"), said("b", "red"), said("none")], "ann")
        one_of = Definition(MANY.labels, "one")
        with pytest.raises(Conflict, match="does not allow 1 of the verdicts"):
            await ports.labels.put(c, "two", one_of, drops=False)
        assert len(await labels_by_key(ports, c, "two")) == 3
        changed, n_dropped = await ports.labels.put(c, "two", one_of, drops=True)
        assert (changed.number, changed.revision, n_dropped) == (number, 2, 1)
        assert await labels_by_key(ports, c, "two") == {b: ("red",), none: ()}

    run(story)


def test_verdicts_on_pictures_that_are_gone_lapse_and_are_counted(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c, other = await ports.created(), await ports.created("other")
        await ports.labels.put(c, "one", COLOURS, drops=False)
        _, b, _ = (one.key for one in await ports.put(c, row("a", "x"), row("b", "y"), row("copy", "y")))
        await ports.put(other, row("elsewhere", "x"))
        await ports.labels.give(c, "one", [said("a", "red"), said("b", "red")], "ann")
        assert (await ports.labels.reviewed(c, "one")).n_lapsed == 0
        await ports.put(c, row("a", "z"), row("copy", "z"), replace=True)
        found = await ports.labels.reviewed(c, "one")
        assert (list(found.verdicts), found.n_lapsed) == ([b], 1)
        with pytest.raises(
            Conflict, match=r"2 of the verdicts of label set 'one' \(1 on pictures that are gone"
        ):
            await ports.labels.put(c, "one", Definition((Label("blue"),)), drops=False)
        await ports.put(c, row("a", "x"), replace=True)
        assert (await ports.labels.reviewed(c, "one")).n_lapsed == 0

    run(story)


def test_dropped_collection_takes_its_sets_with_it(run: Run) -> None:
    async def story(ports: Ports) -> None:
        c = await ports.created()
        await ports.labels.put(c, "one", COLOURS, drops=False)
        await ports.add(c, *"abcde")
        await ports.labels.give(c, "one", [said(id, "red") for id in "abcde"], "ann")
        await ports.records.catalogue.drop(c)
        for refused in (ports.labels.list(c), ports.labels.reviewed(c, "one"), ports.labels.drop(c, "one")):
            with pytest.raises(NotFound, match="dropped"):
                await refused
        n_cleared = 0
        while removed := (await ports.records.catalogue.clear(c, 2)).keys:
            n_cleared += len(removed)
        assert n_cleared == 5
        assert await ports.records.catalogue.dropped() == []

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
