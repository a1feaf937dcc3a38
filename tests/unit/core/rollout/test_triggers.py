"""Which version the server moves to by itself."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from diptych.core.rollout.triggers import RolloutTriggers
from diptych.core.types import VersionRef
from diptych.errors import NotFound

ONE, TWO, OTHER = VersionRef("mine", 1, "a"), VersionRef("mine", 2, "b"), VersionRef("other", 1, "c")


class FakeBundles:
    """The versions of a repository, in ascending order."""

    def __init__(self, *refs: VersionRef) -> None:
        self.refs = list(refs)

    def newest(self, name: str, excluding: Collection[VersionRef] = ()) -> VersionRef | None:
        found = [ref for ref in self.refs if ref.name == name and ref not in excluding]
        return max(found, key=lambda ref: ref.version, default=None)

    def find(self, name: str, version: int) -> VersionRef:
        for ref in self.refs:
            if (ref.name, ref.version) == (name, version):
                return ref
        raise NotFound(f"no version {version}")

    def keep(self, refs: Sequence[VersionRef]) -> None:
        raise AssertionError("the triggers keeps nothing")

    def kept_bytes(self, ref: VersionRef) -> int:
        raise AssertionError("the triggers keeps nothing")


def wanted(bundles: FakeBundles, active: VersionRef, *tried: VersionRef, **options: Any) -> VersionRef | None:
    return RolloutTriggers(bundles, **options).wanted(active, tried)


def test_latest_takes_the_newest_that_was_not_tried() -> None:
    bundles = FakeBundles(ONE, TWO)
    assert wanted(bundles, ONE) == TWO
    assert wanted(bundles, ONE, TWO) is None
    assert wanted(bundles, TWO) is None
    assert wanted(FakeBundles(ONE), TWO) is None  # the newer one has left the repository


def test_latest_passes_over_what_has_failed_but_not_over_what_was_left() -> None:
    three = VersionRef("mine", 3, "d")
    triggers = RolloutTriggers(FakeBundles(ONE, TWO, three))
    assert triggers.wanted(ONE, {three}, {three}) == TWO
    assert triggers.wanted(ONE, {TWO, three}, {TWO, three}) is None
    assert triggers.wanted(TWO, {three}, {three}) is None
    assert triggers.wanted(ONE, {three}) is None  # it served, and somebody went back


def test_latest_takes_other_content_under_the_same_number() -> None:
    assert wanted(FakeBundles(VersionRef("mine", 1, "new")), ONE) == VersionRef("mine", 1, "new")


def test_manual_takes_none() -> None:
    assert wanted(FakeBundles(ONE, TWO), ONE, manual=True) is None


def test_pinned_takes_its_version_once_though_it_served_before() -> None:
    triggers = RolloutTriggers(FakeBundles(ONE, TWO), pinned=1)
    assert triggers.kind == "pinned"
    assert triggers.wanted(TWO, {ONE, TWO}) == ONE
    assert triggers.wanted(TWO, {ONE, TWO}) is None
    assert triggers.wanted(ONE, set()) is None


def test_version_that_is_activated_in_the_place_of_the_pinned_one_stays() -> None:
    triggers = RolloutTriggers(FakeBundles(ONE, TWO), pinned=1)
    assert triggers.wanted(ONE, set()) is None
    assert triggers.wanted(TWO, {TWO}) is None


def test_pinned_version_that_is_not_there_is_told_once_and_taken_when_it_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bundles = FakeBundles(ONE)
    triggers = RolloutTriggers(bundles, pinned=2)
    assert triggers.wanted(ONE, set()) is None
    assert triggers.wanted(ONE, set()) is None
    assert [record.message for record in caplog.records] == [
        "version 2, which the settings name, is not served, mine/1 is: no version 2"
    ]
    bundles.refs.append(TWO)
    assert triggers.wanted(ONE, set()) == TWO


def test_model_that_the_settings_name_is_there_or_not() -> None:
    assert RolloutTriggers(FakeBundles(ONE, OTHER), configured_model="other").newest_configured() == OTHER
    assert RolloutTriggers(FakeBundles(ONE), configured_model="other").newest_configured() is None
    assert RolloutTriggers(FakeBundles(ONE, OTHER)).newest_configured() is None
