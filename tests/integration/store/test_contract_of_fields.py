"""What any store must tell of the fields of metadata."""

from typing import Any

from diptych.core.collections.metadata.facets import MAX_FIELDS, MAX_VALUE_CHARS, Field, FieldSummary, Months
from diptych.core.collections.metadata.filters import Compare, Exists, Filter
from integration.store_contract import Ports, Run, row
from integration.store_contract import opens as opens  # noqa: PLC0414 - a fixture
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture


def put(run: Run, **metadata: dict[str, Any]) -> None:
    """Store one row for each name, with its metadata."""

    async def story(ports: Ports) -> None:
        await ports.put(await ports.created(), *(row(id, metadata=found) for id, found in metadata.items()))

    run(story)


def summary(run: Run, filter: Filter | None = None, limit: int = 20, *, nested: bool = False) -> FieldSummary:
    """What the store tells of the only collection."""
    found: list[FieldSummary] = []

    async def story(ports: Ports) -> None:
        (info,) = await ports.records.catalogue.list()
        found.append(await ports.records.rows.fields(info.number, filter, limit, nested=nested))

    run(story)
    return found[0]


def test_fields_have_their_kinds_counts_values_and_bounds(run: Run) -> None:
    put(
        run,
        a={"year": 2001, "place": "Rome", "tags": ["cat", "cat", "dog"], "seen": True},
        b={"year": 1999.5, "place": "Oslo", "tags": "cat", "seen": 1},
        c={"year": 2001.0, "place": "Rome", "where": {"city": "Bonn"}, "seen": None},
        d={"place": "Rome", "tags": []},
    )
    found = summary(run)
    assert (found.n_images, found.n_read, found.n_fields) == (4, 4, 5)
    assert found.fields == [
        Field("place", 4, ["text"], 2, [("Rome", 3), ("Oslo", 1)], None, None),
        Field("seen", 3, ["boolean", "null", "number"], 3, [(True, 1), (None, 1), (1, 1)], 1, 1),
        Field("tags", 3, ["list", "text"], 2, [("cat", 2), ("dog", 1)], None, None),
        Field("year", 3, ["number"], 2, [(2001, 2), (1999.5, 1)], 1999.5, 2001),
        Field("where", 1, ["object"], 0, [], None, None),
    ]
    assert [type(value) for value, _ in found.fields[1].values] == [bool, type(None), int]


def test_only_the_most_frequent_values_are_listed_and_all_are_counted(run: Run) -> None:
    put(run, **{f"i{n}": {"file": f"{n:02}.jpg", "n": min(n, 27)} for n in range(30)})
    file, n = summary(run, limit=2).fields
    assert (file.n_distinct, file.values) == (30, [("00.jpg", 1), ("01.jpg", 1)])
    assert (n.n_distinct, n.values, n.min, n.max) == (28, [(27, 3), (0, 1)], 0, 27)
    file, n = summary(run, limit=0).fields
    assert (file.n_distinct, n.n_distinct, n.values, n.max) == (30, 28, [], 27)


def test_fields_of_images_that_pass_a_filter(run: Run) -> None:
    put(run, a={"n": 1, "x": 1}, b={"n": 2, "y": 1}, c={"n": 3, "y": 2})
    found = summary(run, Compare(("n",), "gt", 1))
    assert (found.n_images, [(one.name, one.n_images) for one in found.fields]) == (2, [("n", 2), ("y", 2)])
    assert summary(run, Exists(("z",), True)) == FieldSummary(0, 0, 0, [])


def test_fields_inside_of_objects_have_the_paths_of_filters(run: Run) -> None:
    put(
        run,
        a={"camera": {"make": "X", "lens": {"mm": 35, "tags": ["old", "old"]}}, "n": 1},
        b={"camera": {"make": "X", "lens": {"mm": 50}}, "n.o": {"p": 1}},
        c={"camera": "none", "list": [{"make": "Y"}], "n": {"": 1, "a.b": 1, "c": True}},
    )
    found = summary(run, nested=True)
    assert {one.name: (one.n_images, one.values) for one in found.fields} == {
        "camera": (3, [("none", 1)]),
        "camera.make": (2, [("X", 2)]),
        "camera.lens": (2, []),
        "camera.lens.mm": (2, [(35, 1), (50, 1)]),
        "camera.lens.tags": (1, [("old", 1)]),
        "n": (2, [(1, 1)]),
        "n.c": (1, [(True, 1)]),
        "list": (1, []),
    }
    assert (found.n_fields, found.fields[0].kinds) == (8, ["object", "text"])
    for one in found.fields:
        assert summary(run, Exists(tuple(one.name.split(".")), True)).n_images == one.n_images
    assert [one.name for one in summary(run).fields] == ["camera", "n", "list", "n.o"]


def test_long_and_odd_texts_and_names_are_counted(run: Run) -> None:
    long = "x" * (MAX_VALUE_CHARS + 1)
    odd = {'q"\\\n': "\u20ac", "und.ü": "\ud800", "": "a\0b"}
    put(run, a={"t": long, **odd}, b={"t": long[:-1], **odd}, c={"t": long + "y"})
    found = {one.name: one for one in summary(run).fields}
    assert (found["t"].n_distinct, found["t"].values) == (2, [(long[:-1], 1)])
    assert found['q"\\\n'].values == [("\u20ac", 2)]
    assert [found[name].n_images for name in odd] == [2, 2, 2]
    assert found["und.ü"].n_distinct == 1


def test_only_the_most_common_fields_are_described(run: Run) -> None:
    put(run, a={f"f{n}": n for n in range(MAX_FIELDS + 5)}, b={"f204": 0})
    found = summary(run)
    assert (found.n_fields, len(found.fields), found.fields[0].name) == (MAX_FIELDS + 5, MAX_FIELDS, "f204")


def test_months_count_the_dates_that_sort_images(run: Run) -> None:
    put(
        run,
        a={"at": {"day": "2024-05-31T23:59:59-08:00"}},
        b={"at": {"day": "2024-05"}},
        c={"at": {"day": ["seen", "2023-01-01"]}, "n": 1},
        d={"at": {"day": [None, "0999"]}},
        e={"at": {"day": "2024-02-30"}},
        f={"at": {"day": 2024}},
        g={"at": {"day": "2024-05-01 10:00"}, "n": 1},
        h={"at": "2024-05-01"},
    )
    found: list[Months] = []

    async def story(ports: Ports) -> None:
        (info,) = await ports.records.catalogue.list()
        for filter in (None, Exists(("n",), True)):
            found.append(await ports.records.rows.months(info.number, ("at", "day"), filter))

    run(story)
    assert found == [Months(8, {"0999-01": 1, "2024-05": 3}), Months(2, {"2024-05": 1})]
    assert list(found[0].counts) == ["0999-01", "2024-05"]


def test_texts_of_a_field_are_counted(run: Run) -> None:
    put(
        run,
        a={"file": {"folder": "x/y"}},
        b={"file": {"folder": "x/y"}, "n": 1},
        c={"file": {"folder": ["z", "x"]}},
        d={"file": {"folder": 7}},
        e={"file": "x/y"},
        f={"file": {"folder": "nul\0x"}, "n": 1},
    )
    found: list[dict[str, int]] = []

    async def story(ports: Ports) -> None:
        (info,) = await ports.records.catalogue.list()
        for filter in (None, Exists(("n",), True)):
            found.append(await ports.records.rows.texts(info.number, ("file", "folder"), filter))

    run(story)
    assert found == [{"x/y": 2, "z": 1, "nul\0x": 1}, {"x/y": 1, "nul\0x": 1}]
