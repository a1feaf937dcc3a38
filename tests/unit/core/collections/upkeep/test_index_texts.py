"""Recall is measured by names that images have, and by nouns that none has."""

import asyncio
from typing import Any

from diptych.core.collections.upkeep.index_texts import N_NAMES, N_NOUNS, chosen, nouns, texts_of
from diptych.core.types import ImageRecord

BANK = [f"{a}{b}" for a in "bcdfghjklmnpqrstvwxz" for b in ("aloo", "eloo", "iloo", "oloo", "uloo")]


def record(id: str, sha256: str, metadata: dict[str, Any]) -> ImageRecord:
    return ImageRecord(id, "pets", sha256, 1, "image/png", 1, 1, metadata, "2026-01-01T00:00:00Z")


class FakeRows:
    """Images of one collection."""

    def __init__(self, records: list[ImageRecord]) -> None:
        self._records = dict(enumerate(records, 1))

    async def keys(self, c: int, ids: object = None) -> list[int]:
        return list(self._records)

    async def by_key(self, keys: list[int]) -> dict[int, ImageRecord]:
        return {key: self._records[key] for key in keys}


def test_names_come_from_files_ids_and_metadata_but_not_from_checksums() -> None:
    rows = FakeRows(
        [
            record(
                "abcdef", "abcdef0123", {"file": {"name": "Sleeping_Cat-2.png", "folder": "pets"}, "n": 3}
            ),
            record("old-tram", "ffff", {"title": "A Tram"}),
        ]
    )
    texts = asyncio.run(texts_of(rows, 1))  # type: ignore[arg-type]
    assert sorted(texts["names"][:3]) == ["old tram", "sleeping cat", "tram"]
    assert "abcdef" not in texts["names"]
    assert "tram" not in texts["nouns"]
    assert (len(texts["names"]), len(texts["nouns"])) == (N_NAMES, N_NOUNS)


def test_nouns_that_stand_in_names_or_captions_are_left_out() -> None:
    caption = f"a long caption of more than eight words that has a {BANK[3]} in it somewhere"
    texts = chosen([f"red {BANK[0]}", caption], BANK)
    assert not {BANK[0], BANK[3]} & {*texts["nouns"]}
    assert f"red {BANK[0]}" in texts["names"]
    assert caption not in texts["names"], "it is no name"


def test_collection_without_names_is_measured_by_other_nouns_of_the_bank() -> None:
    texts = chosen([], nouns())
    assert len(set(texts["names"])) == N_NAMES
    assert len(set(texts["nouns"])) == N_NOUNS
    assert not {*texts["names"]} & {*texts["nouns"]}


def test_collection_that_has_every_noun_is_measured_by_them_all_the_same() -> None:
    texts = chosen(BANK, BANK)
    assert texts["nouns"]
    assert texts["names"]
    assert chosen(BANK, BANK) == texts, "the same each time"
