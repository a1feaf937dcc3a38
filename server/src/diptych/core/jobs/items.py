"""Items of jobs: from the files of an archive, and checked before a job is accepted.

`a/cat.json` next to `a/cat.jpg` describes it: {"id": .., "metadata": {..}}, and either may be left out.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from diptych.core.collections.metadata.checks import json_kind
from diptych.core.collections.metadata.reserved import FILE, check_given, file_metadata
from diptych.core.collections.stored.ids import check_id
from diptych.core.job import JobItem
from diptych.errors import InputError, InvalidValue, TooLarge
from diptych.tar import Member, Read, members

MAX_DESCRIPTION_BYTES = 65_536
SLACK = 1_000  # folders and extension headers that an archive may have in addition to its files
Description = dict[str, object] | InputError


def items_of_archive(read: Read, n_bytes: int, max_items: int, max_image_bytes: int) -> list[JobItem]:
    """The images of an archive in order. Items that cannot be added have an error, and fail alone.

    Folders and hidden files (a name that begins with a dot, anywhere on the path) are left out. Raises
    Malformed and TooLarge for the whole archive.
    """
    found = [
        replace(member, name=_printable(member.name))
        for member in members(read, n_bytes, 4 * max_items + SLACK)
        if member.kind != "folder" and not _is_hidden(member.name)
    ]
    described = {_stem(one.name): one for one in found if _describes(one)}
    images = [one for one in found if not _describes(one)]
    used = {_stem(one.name) for one in images}
    stray = [one for stem, one in described.items() if stem not in used]
    if len(images) + len(stray) > max_items:
        raise TooLarge(f"the archive has {len(images) + len(stray)} items, limit is {max_items}")
    items: list[JobItem] = []
    for image in images:
        sidecar = described.get(_stem(image.name))
        said: Description = {} if sidecar is None else _description(read, sidecar)
        items.append(_item(len(items), image, said, max_image_bytes))
    for one in stray:
        error = InvalidValue("describes no image: there is no image of this name")
        items.append(JobItem(len(items), 0, 0, error=error, file=one.name))
    return items


def _item(number: int, image: Member, said: Description, max_image_bytes: int) -> JobItem:
    error = said if isinstance(said, InputError) else _refusal(image, max_image_bytes)
    if error is not None or isinstance(said, InputError):
        return JobItem(number, 0, 0, error=error, file=image.name)
    id, metadata = said.get("id"), said.get("metadata")
    assert id is None or isinstance(id, str)
    assert metadata is None or isinstance(metadata, dict)
    file = {FILE: file_metadata(image.name)}  # as `diptych add` does, so that hits can be recognised
    return JobItem(number, image.offset, image.n_bytes, id, file | (metadata or {}), file=image.name)


def _refusal(image: Member, max_image_bytes: int) -> InputError | None:
    if image.kind != "file":
        return InvalidValue(f"is a {image.kind}: only files are read")
    if image.name.startswith("/") or ".." in PurePosixPath(image.name).parts:
        return InvalidValue("names a place outside of the archive")
    if image.n_bytes > max_image_bytes:
        return TooLarge(f"image has {image.n_bytes} bytes, limit is {max_image_bytes}")
    return None


def _description(read: Read, member: Member) -> Description:
    if member.n_bytes > MAX_DESCRIPTION_BYTES:
        return TooLarge(f"has {member.n_bytes} bytes, limit is {MAX_DESCRIPTION_BYTES}", "description")
    try:
        said = json.loads(read(member.offset, member.n_bytes))
    except (ValueError, RecursionError) as error:
        return InvalidValue(f"is not JSON: {error}", "description")
    if not isinstance(said, dict):
        return InvalidValue(f"must be an object, not {json_kind(said)}", "description")
    if unknown := sorted(said.keys() - {"id", "metadata"}):
        return InvalidValue(f"has unknown keys, such as {unknown[0][:40]!r}", "description")
    if not isinstance(said.get("id"), str | None) or not isinstance(said.get("metadata"), dict | None):
        return InvalidValue("id must be a string and metadata an object", "description")
    return said


def _describes(member: Member) -> bool:
    return member.kind == "file" and member.name.lower().endswith(".json")


def _stem(name: str) -> str:
    """The path without its last suffix."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def _printable(name: str) -> str:
    """Replace bytes that are not UTF-8, which cannot be sent as JSON."""
    return name.encode("utf-8", "surrogateescape").decode(errors="replace")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in {".", ".."} for part in name.split("/"))


def check_items(items: Sequence[JobItem], max_metadata_bytes: int) -> list[JobItem]:
    """The same items; an item with a bad id or bad metadata gets an error in place of both."""
    return [_check_item(item, max_metadata_bytes) for item in items]


def _check_item(item: JobItem, max_metadata_bytes: int) -> JobItem:
    try:
        if item.metadata is not None:
            check_given(item.metadata, max_metadata_bytes)
    except InputError as error:
        return replace(item, id=None, metadata=None, error=item.error or error.named("metadata"))
    try:
        if item.id is not None:
            check_id(item.id)
    except InputError as error:
        return replace(item, id=None, metadata=None, error=item.error or error.named("id"))
    return item
