"""Add pictures of a library to its collection, by reference."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Container, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diptych.core.collections.metadata.reserved import FILE
from diptych.core.collections.service import Collections
from diptych.core.collections.stored.ids import content_id, sha256_of
from diptych.core.libraries.files import KnownFiles
from diptych.core.libraries.ports import LibraryFile, LibraryRows, Path
from diptych.core.libraries.reading import ReadFile
from diptych.core.types import AddOutcome, Metadata, NewImage
from diptych.errors import Conflict, InputError, Overloaded, TooLarge

Mark = Callable[[KnownFiles, Sequence[Path]], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class _State:
    """What is stored of the pictures in some files: ids by sha256, and which a person has deleted."""

    images: dict[str, str]
    deleted: set[str]
    known: KnownFiles

    def needs_image(self, sha256: str) -> bool:
        """Whether the picture is to be added; again, if all its files were missing."""
        return sha256 not in self.deleted and (sha256 not in self.images or not self.known.n_there(sha256))


class Additions:
    """Adds what the collection lacks of files that were read, and records all of them.

    Two files with the same content are one image, and so is a file that has moved.
    """

    def __init__(self, name: str, rows: LibraryRows, collections: Collections, mark: Mark) -> None:
        """`name` is that of the library and its collection. `mark` notes that files are missing."""
        self._name = name
        self._rows = rows
        self._collections = collections
        self._mark = mark
        self.restored: Collection[str] = ()  # the sha256 of deleted pictures that are added again

    async def add(self, known: KnownFiles, files: Sequence[ReadFile]) -> None:
        """Add new files."""
        state = await self._state(known, files)
        first = {one.sha256: one for one in files if state.needs_image(one.sha256)}
        outcomes = dict(zip(first, await self._add_all(list(first.values()), state.images), strict=True))
        again = {
            sha256: one.described.file
            for sha256, one in first.items()
            if sha256 in state.images and outcomes[sha256].error is None
        }
        recorded = [_recorded(one, outcomes.get(one.sha256)) for one in files]
        await known.record([*recorded, *_sidecars_of(first.values())], described=again)

    async def record_known(
        self, known: KnownFiles, files: Sequence[ReadFile], described: Container[str]
    ) -> list[Path]:
        """Record changed files whose content needs no image; return the paths of the others.

        Their images are described as these files, unless those are `described`, by sha256, as others.
        """
        state = await self._state(known, files)
        recorded = [one for one in files if not state.needs_image(one.sha256)]
        new = [one for one in recorded if one.sha256 not in described or one.described.sidecar]
        await known.record(
            [*(one.as_known() for one in recorded), *_sidecars_of(new)],
            described={one.sha256: one.described.file for one in new},
        )
        return [one.path for one in files if state.needs_image(one.sha256)]

    async def change(self, known: KnownFiles, one: ReadFile, gone: Counter[str | None]) -> None:
        """Put a changed file in the place of its image, if that has no other file; else add it.

        `gone`: how many files of each content are not there any more.
        """
        old, state = known.by_path[one.path], await self._state(known, [one])
        n_others = known.n_there(old.sha256) - gone[old.sha256] - (old.missing_since is None)
        sha256 = old.sha256 or ""
        image = (await self._rows.images(known.c, [sha256])).get(sha256)
        is_new = one.sha256 not in state.images and state.needs_image(one.sha256)
        if image is None or n_others > 0 or not is_new:
            await self.add(known, [one])
            return
        new = NewImage(one.payload, image, referenced=True)
        (outcome,) = await self._add_patiently([new], replace=True)
        recorded = _recorded(one, outcome)
        if outcome.error is None:
            files = [recorded, *_sidecars_of([one])]
            await known.record(files, described={one.sha256: one.described.file})
            return
        await self._mark(known, [one.path])
        since = known.by_path[one.path].missing_since
        await known.record([replace(recorded, sha256=old.sha256, missing_since=since)])

    async def _state(self, known: KnownFiles, files: Sequence[ReadFile]) -> _State:
        sha256s = {one.sha256 for one in files}
        images = await self._rows.images(known.c, sha256s)
        deleted = await self._rows.deleted(known.c, sha256s)
        return _State(images, deleted.difference(self.restored), known)

    async def _add_all(self, files: Sequence[ReadFile], images: dict[str, str]) -> list[AddOutcome]:
        """Add pictures, those of `images` again. An id that another picture has, as one that was changed in
        place may have, is not taken.
        """
        new = [_new_image(one, images.get(one.sha256)) for one in files]
        outcomes = await self._add_patiently(new)
        taken = [n for n, one in enumerate(outcomes) if isinstance(one.error, Conflict)]
        others = [replace(new[n], id=_other_id(files[n])) for n in taken]
        for n, outcome in zip(taken, await self._add_patiently(others), strict=True):
            outcomes[n] = outcome
        return outcomes

    async def _add_patiently(self, images: Sequence[NewImage], *, replace: bool = False) -> list[AddOutcome]:
        """Add images while giving way to requests, as jobs do."""
        while images:
            try:
                return (await self._collections.add_many(self._name, images, replace=replace)).outcomes
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
            except TooLarge as error:
                if len(images) == 1:
                    return [AddOutcome(0, None, "failed", error)]
                return [(await self._add_patiently([one], replace=replace))[0] for one in images]
        return []


def _sidecars_of(files: Iterable[ReadFile]) -> list[LibraryFile]:
    """The sidecars that pictures are described by."""
    return [one.described.sidecar for one in files if one.described.sidecar is not None]


def _new_image(one: ReadFile, id: str | None) -> NewImage:
    metadata: Metadata | None = {FILE: one.described.file} if id is None else None
    return NewImage(one.payload, id, metadata, referenced=True)


def _other_id(one: ReadFile) -> str:
    return content_id(sha256_of(one.sha256.encode() + one.path))


def _recorded(one: ReadFile, outcome: AddOutcome | None) -> LibraryFile:
    """The file as it is known from now on. Raises an error that is not about this picture."""
    error = None if outcome is None else outcome.error
    if error is None:
        return one.as_known()
    if not isinstance(error, InputError):
        raise error
    return LibraryFile(one.path, one.stamp, None, error.message)
