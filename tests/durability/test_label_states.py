"""Any sequence of calls, restarts and rollouts loses no word of a person, and other labels are the version's.

An image has what a person said of its bytes, or else what the version says that answers for its collection.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from diptych.core.collections.stored.ids import sha256_of
from diptych.core.labels.label_set import Definition, Label, NewVerdict
from diptych.core.labels.service import LabelledImage, LabelQuery
from diptych.core.types import ModelInfo
from diptych.errors import Conflict, InvalidValue, NotFound
from durability.test_state_machine import ALL, PICTURES, C, Images, run_machine
from integration.store_parts import tiny_png

AS_THEY_ARE = ("{}",)
DEFINITIONS = [
    Definition((Label("red"), Label("green", ("blue",)), Label("yellow")), templates=AS_THEY_ARE),
    Definition((Label("red"), Label("green")), templates=AS_THEY_ARE),
    Definition((Label("yellow"), Label("red")), "many", AS_THEY_ARE),
]
NAMES = st.sampled_from(["kind", "more"])
ONE = st.integers(0, 7)  # of the images or sets that there are
LABELS = st.sampled_from([("red",), ("green",), ("yellow",), (), ("yellow", "red"), ("nothing",)])
MAX_REVIEWED = 4  # pictures: one more could be enough to stop a rollout


@dataclass
class Reviewed:
    """A label set as it should be, with what was said of pictures, by their sha256."""

    definition: Definition
    said: dict[str, tuple[str, ...]] = field(default_factory=dict)


class LabelledImages(Images):
    """A collection with label sets."""

    def __init__(self) -> None:
        super().__init__()
        self.sets: dict[str, Reviewed] = {}

    @initialize()
    def open(self) -> None:
        is_new = not hasattr(self, "opened")
        super().open()
        if is_new:
            self._begin()

    def _begin(self) -> None:
        """Have pictures, and a label set with verdicts: else most sequences review nothing."""
        self.put_set("kind", DEFINITIONS[0], False)
        for seed, (id, label) in enumerate({"a": "red", "b": "green", "c": "yellow"}.items()):
            self.add(tiny_png(seed), id, None, False)
            self.say(0, seed, (label,))

    @rule(name=NAMES, definition=st.sampled_from(DEFINITIONS), drops=st.booleans())
    def put_set(self, name: str, definition: Definition, drops: bool) -> None:
        call = self.opened.label_sets.put(C, name, definition, drops=drops)
        found = self.sets.setdefault(name, Reviewed(definition))
        kept = {sha256: labels for sha256, labels in found.said.items() if definition.allows(labels)}
        n_lost = len(found.said) - len(kept)
        if n_lost and not drops:
            with pytest.raises(Conflict):
                self.runner.run(call)
        else:
            assert self.runner.run(call).n_dropped == n_lost
            self.sets[name] = Reviewed(definition, kept)

    @rule(name=NAMES, really=st.sampled_from([False, False, True]))
    def drop_set(self, name: str, really: bool) -> None:
        if name in self.sets and not really:
            return
        call = self.opened.label_sets.drop(C, name)
        if self.sets.pop(name, None) is None:
            with pytest.raises(NotFound):
                self.runner.run(call)
        else:
            self.runner.run(call)

    @rule()
    def drop(self) -> None:
        super().drop()
        self.sets = {}
        self._begin()

    @rule(number=ONE, image=ONE, labels=LABELS)
    def say(self, number: int, image: int, labels: tuple[str, ...]) -> None:
        name, id = _one_of(self.sets, number), _one_of(self.kept, image)
        found, kept = self.sets.get(name), self.kept.get(id)
        sha256 = None if kept is None else sha256_of(kept.payload)
        if found is not None and sha256 not in found.said and len(found.said) == MAX_REVIEWED:
            return
        call = self.opened.label_sets.give(C, name, [NewVerdict(id, labels)], "ann")
        if found is None or not found.definition.allows(labels):
            with pytest.raises(NotFound if found is None else InvalidValue):
                self.runner.run(call)
            return
        given = self.runner.run(call)
        assert given.unknown == ([id] if sha256 is None else [])
        for one in given.verdicts:
            assert sha256 is not None
            assert (None if one.before is None else one.before.labels) == found.said.get(sha256)
            found.said[sha256] = labels

    @rule(number=ONE, image=ONE, labels=LABELS, seen=PICTURES)
    def say_of_what_was_seen(self, number: int, image: int, labels: tuple[str, ...], seen: bytes) -> None:
        """Say it of a picture that was replaced meanwhile: nothing is stored."""
        name, id = _one_of(self.sets, number), _one_of(self.kept, image)
        found, kept = self.sets.get(name), self.kept.get(id)
        if found is None or kept is None or kept.payload == seen or not found.definition.allows(labels):
            return
        verdict = NewVerdict(id, labels, sha256=sha256_of(seen))
        given = self.runner.run(self.opened.label_sets.give(C, name, [verdict], "ann"))
        assert (given.verdicts, given.replaced) == ([], [id])

    @rule(number=ONE, image=ONE)
    def withdraw(self, number: int, image: int) -> None:
        name, id = _one_of(self.sets, number), _one_of(self.kept, image)
        call = self.opened.label_sets.withdraw(C, name, id)
        said = self.sets[name].said if name in self.sets else {}
        sha256 = sha256_of(self.kept[id].payload) if id in self.kept else ""
        if sha256 not in said:
            with pytest.raises(NotFound):
                self.runner.run(call)
        else:
            assert self.runner.run(call).labels == said.pop(sha256)

    @invariant()
    def each_image_has_what_was_said_of_it_or_what_the_version_says(self) -> None:
        if not hasattr(self, "opened"):
            return
        sets = self.runner.run(self.opened.label_sets.list(C))
        assert {one.name: one.definition for one in sets} == {
            name: one.definition for name, one in self.sets.items()
        }
        for name, found in self.sets.items():
            before = self.opened.pair().identity
            page = self.runner.run(self.opened.label_sets.images(C, name, LabelQuery(limit=ALL)))
            assert page.model.identity in {
                before,
                self.opened.pair().identity,
            }  # it may be switched meanwhile
            assert [image.id for image in page.images] == sorted(self.kept)
            for image in page.images:
                self._check(image, found, page.model)

    def _check(self, image: LabelledImage, found: Reviewed, model: ModelInfo) -> None:
        payload, labels = self.kept[image.id].payload, image.assignment.labels
        said = found.said.get(sha256_of(payload))
        assert (image.assignment.verdict is None) == (said is None)
        assert labels == (image.assignment.proposed if said is None else said)
        if found.definition.kind == "one":
            (proposed,) = image.assignment.proposed
            cosines = self._cosines(payload, found.definition, model)
            assert cosines[proposed] == pytest.approx(max(cosines.values()), abs=1e-5)

    def _cosines(self, payload: bytes, definition: Definition, model: ModelInfo) -> dict[str, float]:
        """Of the labels in float32: int8 turns the vectors of images and texts alike."""
        expected = self.expected[model.name, model.version]
        image = expected.image(payload)
        found: dict[str, Any] = {}
        for label in definition.labels:
            mean = np.mean([expected.text(text) for text in label.texts], axis=0)
            found[label.label] = image @ mean / np.linalg.norm(mean)
        return {label: float(cosine) for label, cosine in found.items()}


for rule_without_labels in ("add_several", "patch", "filter", "find_words", "list", "read", "delete_lacking"):
    setattr(LabelledImages, rule_without_labels, None)  # so that there are more steps for those with labels


def _one_of(names: Collection[str], number: int) -> str:
    """One of the names; if there is none, a name that nothing has."""
    return sorted(names)[number % len(names)] if names else "nowhere"


def test_labels_are_what_people_or_the_version_said(tmp_path: Path) -> None:
    run_machine(tmp_path, n_examples=5, n_steps=20, machine=LabelledImages)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_labels_are_what_people_or_the_version_said_for_long(tmp_path: Path) -> None:
    run_machine(tmp_path, n_examples=300, n_steps=60, machine=LabelledImages)
