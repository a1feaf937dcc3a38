"""Any sequence of calls changes a collection as it would change a dictionary, across restarts and rollouts.

Whatever version serves, and whichever rollouts are under way: every image is found at any time, by vectors of
the version that the collection names.
"""

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from diptych.adapters.sqlite.rollouts import SqlRollouts
from diptych.adapters.sqlite.store import SqliteStore
from diptych.core.collections.metadata.checks import merge_patch
from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.collections.metadata.words import parse_words
from diptych.core.collections.stored.ids import CONTENT_ID_DIGITS, content_id, sha256_of
from diptych.core.types import Deletion, NewImage, Target
from diptych.errors import Conflict, NotFound
from durability.journal import Kept
from integration.large_indexes import approximation
from integration.store_parts import Opened, tiny_png
from support.one_search import search_by
from support.tiny_bundle import TINY, write_tiny_bundle
from support.version_vectors import Vector, VersionVectors
from support.word_index import disagreeing_words

C = "default"
OTHER = "other"
SETTLED_WITHIN_S = 60
VERSIONS = [(TINY, 1), (TINY, 2), (OTHER, 1)]
PRECISIONS = ["fp32", "int8"]
ALL = 1000
PICTURES = st.integers(0, 5).map(tiny_png)
IDS = st.sampled_from(["a", "b", "c", "~d", "E.e"])
SCALARS = st.integers(0, 3) | st.sampled_from(["x", "y", "é", True, None, 1.5])
METADATA = st.dictionaries(
    st.sampled_from(["n", "tags", "place"]), SCALARS | st.lists(SCALARS, max_size=2), max_size=3
)
PATCHES = st.dictionaries(
    st.sampled_from(["n", "tags", "place"]),
    SCALARS | st.dictionaries(st.sampled_from(["city", "n"]), SCALARS, max_size=2),
    min_size=1,
    max_size=2,
)
CLAUSES = st.one_of(
    st.builds(lambda key, value: {key: {"eq": value}}, st.sampled_from(["n", "tags", "place.city"]), SCALARS),
    st.builds(lambda low: {"n": {"gte": low}}, st.integers(0, 3)),
    st.builds(lambda values: {"tags": {"in": values}}, st.lists(SCALARS, max_size=3)),
    st.builds(lambda wanted: {"place": {"exists": wanted}}, st.booleans()),
)
FILTERS = CLAUSES | st.builds(
    lambda word, clauses: {word: clauses},
    st.sampled_from(["and", "or"]),
    st.lists(CLAUSES, min_size=1, max_size=3),
) | st.builds(lambda clause: {"not": clause}, CLAUSES)  # fmt: skip


class Images(RuleBasedStateMachine):
    """One collection over the real adapters and the tiny model, compared with a dictionary."""

    model_repo: Path
    expected: dict[tuple[str, int], VersionVectors]
    min_rows: int | None  # of an index that is trained

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Kept] = {}
        self.active = (TINY, 1, "fp32")  # when the folder was closed last
        self.folder = Path(tempfile.mkdtemp(prefix="diptych-states-"))
        self.runner = asyncio.Runner()

    @initialize()
    def open(self) -> None:
        async def opened() -> Opened:
            name, version, precision = self.active
            lists = None if self.min_rows is None else approximation(self.folder, self.min_rows)
            return await Opened(
                self.model_repo, self.folder, version, name, precision=precision, lists=lists, tend_s=0.01
            ).__aenter__()

        self.opened = self.runner.run(opened())

    @rule()
    def restart(self) -> None:
        """Close the folder, and open it with the version that it has remembered."""
        self.runner.run(self.opened.__aexit__())  # ends a switch that is under way
        store = SqliteStore(self.folder)
        served = SqlRollouts(store.threads).served_now()
        store.close_now()
        assert served is not None
        assert served.active == self.opened.serving.current.version.target
        self.active = (*_name_and_version(served.active), served.active.precision)
        self.open()

    @rule(payload=PICTURES, id=st.none() | IDS, metadata=st.none() | METADATA, replace=st.booleans())
    def add(self, payload: bytes, id: str | None, metadata: Any, replace: bool) -> None:
        outcome = self.runner.run(self.opened.add(C, payload, id, metadata, replace=replace))
        assert (outcome.id, outcome.status) == self._added(payload, id, metadata, replace)
        assert (outcome.error is None) == (outcome.status != "failed")

    @rule(items=st.lists(st.tuples(PICTURES, IDS, st.none() | METADATA), min_size=2, max_size=4),
          replace=st.booleans())  # fmt: skip
    def add_several(self, items: list[Any], replace: bool) -> None:
        """Add several images. Repeated ids in one add are applied in order."""
        adding = self.opened.collections.add_many(C, [NewImage(*item) for item in items], replace=replace)
        outcomes = self.runner.run(adding).outcomes
        assert all(one.error is None or isinstance(one.error, Conflict) for one in outcomes), outcomes
        if len({id for _, id, _ in items}) == len(items):
            expected = [self._added(*item, replace) for item in items]
            assert [(outcome.id, outcome.status) for outcome in outcomes] == expected
        else:  # what stands twice in one add may be "unchanged" or not; the end is what counts
            for item in items:
                self._added(*item, replace)

    def _added(self, payload: bytes, id: str | None, metadata: Any, replace: bool) -> tuple[str, str]:
        id = content_id(sha256_of(payload)) if id is None else id
        old = self.kept.get(id)
        if old is None:
            self.kept[id] = Kept(payload, metadata or {})
            return id, "created"
        if old.payload != payload and not replace:
            return id, "failed"
        new = Kept(payload, old.metadata if metadata is None else metadata)
        if old.payload == payload and (not replace or _same(new.metadata, old.metadata)):
            return id, "unchanged"
        self.kept[id] = new
        return id, "replaced"

    @rule(id=IDS, patch=PATCHES)
    def patch(self, id: str, patch: Any) -> None:
        call = self.opened.collections.images.patch(C, id, patch)
        if id not in self.kept:
            with pytest.raises(NotFound):
                self.runner.run(call)
            return
        old = self.kept[id]
        self.kept[id] = Kept(old.payload, merge_patch(old.metadata, patch))
        assert self.runner.run(call).metadata == self.kept[id].metadata

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        call = self.opened.collections.images.delete(C, id)
        if self.kept.pop(id, None) is None:
            with pytest.raises(NotFound):
                self.runner.run(call)
        else:
            self.runner.run(call)

    @rule()
    def drop(self) -> None:
        self.runner.run(self.opened.collections.drop(C))
        with pytest.raises(NotFound):
            self.runner.run(self.opened.collections.get(C))
        self.runner.run(self.opened.collections.create(C))
        with pytest.raises(Conflict):
            self.runner.run(self.opened.collections.create(C))
        self.kept = {}

    @rule(version=st.sampled_from(VERSIONS), precision=st.sampled_from(PRECISIONS), waits=st.booleans())
    def activate(self, version: tuple[str, int], precision: str, waits: bool) -> None:
        """Activate a version in a precision. Unless this waits, other rules run during its rollout."""
        self.runner.run(self.opened.rollouts.activate(*version, precision))
        if waits:
            self.wait()
            target = self.opened.serving.current.version.target
            assert (_name_and_version(target), target.precision) == (version, precision)

    @rule()
    def roll_back(self) -> None:
        """Return to what served before."""
        status = self.runner.run(self.opened.rollouts.status())
        if status.previous is not None:
            target = status.previous.target
            self.runner.run(
                self.opened.rollouts.activate(target.ref.name, target.ref.version, target.precision)
            )

    @rule(number=st.integers(0, 2))
    def cancel(self, number: int) -> None:
        """Cancel a rollout that has not ended. It may be done before it is cancelled.

        One that lets a collection follow what serves is left: without it, that waits for a minute.
        """
        rollouts, active = (
            self.runner.run(self.opened.rollouts.list()),
            self.opened.serving.current.version.target,
        )
        if running := [one for one in rollouts if not one.has_ended and one.target != active]:
            chosen = running[number % len(running)]
            with suppress(Conflict):  # it has just ended
                cancelled = self.runner.run(self.opened.rollouts.cancel(chosen.id))
                assert cancelled.state in {"cancelled", "active"}

    @rule()
    def wait(self) -> None:
        """Wait until all rollouts have ended; none has failed, and the collection follows the server."""
        self.runner.run(self._settled())

    async def _settled(self) -> None:
        """Wait until nothing is left to do. A collection that was created during a switch moves after it."""
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while await self._is_moving() or not self._follows():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        info = await self.opened.collections.get(C)
        assert (info.state, info.stays) == ("ready", ""), info
        assert not [one for one in await self.opened.rollouts.list() if one.state == "failed"]

    async def _is_moving(self) -> bool:
        return any(not one.has_ended for one in await self.opened.rollouts.list())

    def _follows(self) -> bool:
        """Whether the collection has vectors of what serves."""
        pair = self.opened.collections[C].pair
        return pair is not None and pair.version is self.opened.serving.current.version

    @rule()
    def delete_lacking(self) -> None:
        """Delete images without a vector: there are none, since all originals are kept."""
        call = self.opened.collections.images.delete_matching(C, None, lacking=True, preview=False)
        assert self.runner.run(call) == Deletion(0)

    @rule(clause=FILTERS, payload=PICTURES)
    def filter(self, clause: Any, payload: bytes) -> None:
        """Filter a search over all images, so that the hits are exactly those that match.

        Searches wait for nothing, and each cosine is that of the version that the collection names.
        """
        filter = parse_filter(clause)
        serving, collections = self.opened.serving, self.opened.collections
        found = self.runner.run(search_by(serving, collections, C, payload, ALL, filter=filter))
        assert {hit.id for hit in found.hits} == {
            id for id, kept in self.kept.items() if filter.matches(dict(kept.metadata))
        }
        query = self._expected(payload, found.model.target)
        for hit in found.hits:
            kept = self.kept[hit.id]
            assert hit.metadata == kept.metadata
            row = self._expected(kept.payload, found.model.target)
            assert hit.cosine == pytest.approx(float(query @ row), abs=1e-5)

    def _expected(self, payload: bytes, target: Target) -> Vector:
        """The vector of an image; int8 turns those of the store's parts by one place."""
        return np.roll(self.expected[_name_and_version(target)].image(payload), target.precision == "int8")

    @rule(text=st.sampled_from(["x", "y", "E", "x y", "a", "e*", '"x y"']))
    def find_words(self, text: str) -> None:
        """Find images by words: exactly those whose id or metadata have all of them."""
        words = {*text.lower().replace("*", "").split()} - {'"x', 'y"'}
        found = self.runner.run(self._by_words(text))
        assert found == {
            id
            for id, kept in self.kept.items()
            if words <= _words_of(id, kept.metadata) and not text.startswith('"')  # no value has two words
        }

    async def _by_words(self, text: str) -> set[str]:
        c = self.opened.collections[C].number
        matches = await self.opened.records.words.matching(c, parse_words(text))
        assert (matches.n_indexed, matches.n_images) == (len(self.kept), len(self.kept))
        records = await self.opened.records.rows.by_key(matches.keys.tolist())
        return {record.id for record in records.values()}

    @rule(limit=st.integers(1, 4))
    def list(self, limit: int) -> None:
        listed, after = [], None
        while True:
            page, after = self.runner.run(self.opened.collections.images.list(C, after, limit))
            listed += page
            if after is None:
                break
        assert [record.id for record in listed] == sorted(self.kept)
        for record in listed:
            kept = self.kept[record.id]
            assert (record.metadata, record.sha256) == (kept.metadata, sha256_of(kept.payload))

    @rule(id=IDS)
    def read(self, id: str) -> None:
        call = self.opened.collections.images.original(C, id)
        if id in self.kept:
            assert self.runner.run(call)[0] == self.kept[id].payload
        else:
            with pytest.raises(NotFound):
                self.runner.run(call)

    @invariant()
    def as_many_images_and_files_as_there_should_be(self) -> None:
        if hasattr(self, "opened"):
            info = self.runner.run(self.opened.collections.get(C))
            assert info.n_images == len(self.kept), info
            assert (info.n_embedded, info.state) == (len(self.kept), "ready"), info
            assert self.opened.files() == sorted({sha256_of(kept.payload) for kept in self.kept.values()})

    @invariant()
    def words_of_exactly_these_images(self) -> None:
        if hasattr(self, "opened"):
            assert disagreeing_words(self.folder) == []

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.runner.run(self.opened.__aexit__())
        self.runner.close()
        shutil.rmtree(self.folder)


def _name_and_version(target: Target) -> tuple[str, int]:
    return target.ref.name, target.ref.version


def _words_of(id: str, metadata: Any) -> set[str]:
    """The words of an image: of its id, unless that is of its content, and of texts, wherever they are."""
    words = set[str]() if len(id) == CONTENT_ID_DIGITS else {*id.lower().strip("~").split(".")}
    values = [metadata]
    while values:
        value = values.pop()
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str):
            words.add("e" if value == "é" else value)
    return words


def _same(a: Any, b: Any) -> bool:
    """Whether two values of metadata are equal as the store compares them."""
    return bool(a == b)


def run_machine(
    tmp_path: Path,
    n_examples: int,
    n_steps: int,
    min_rows: int | None = None,
    machine: type[Images] = Images,
) -> None:
    for seed, (name, _) in enumerate(VERSIONS):
        write_tiny_bundle(tmp_path, name, seed=seed)
    Images.model_repo, Images.min_rows = tmp_path, min_rows
    Images.expected = {one: VersionVectors(tmp_path, *one) for one in VERSIONS}
    checks = settings(
        max_examples=n_examples,
        stateful_step_count=n_steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(machine, settings=checks)


def test_collections_behave_as_a_dictionary(tmp_path: Path) -> None:
    run_machine(tmp_path, n_examples=10, n_steps=20)


def test_collections_whose_indexes_are_trained_behave_as_a_dictionary(tmp_path: Path) -> None:
    run_machine(tmp_path, n_examples=5, n_steps=20, min_rows=2)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("min_rows", [None, 2])
def test_collections_behave_as_a_dictionary_for_long(tmp_path: Path, min_rows: int | None) -> None:
    run_machine(tmp_path, n_examples=300, n_steps=60, min_rows=min_rows)
