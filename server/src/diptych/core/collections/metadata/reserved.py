"""The names in metadata that diptych writes itself, and how metadata is changed by a patch, and compared when
an image comes again.

`file` says which file an image was: its name, its folder within the folder or archive that was added, when it
was modified, since when a library misses it, and what the sidecar next to it says. Earlier releases stored it
as one text, the path. `exif` is for what cameras record, see `exif`.
"""

from datetime import UTC, datetime
from pathlib import PurePosixPath

from diptych.core.collections.metadata.checks import check_metadata, merge_patch
from diptych.core.collections.metadata.exif import (
    EXIF,
    PLACE,
    RENAME,
    check_exif,
    counted,
    has_given_exif,
    without_exif,
)
from diptych.core.collections.metadata.filters import same_json
from diptych.core.collections.metadata.sidecar import SIDECAR, SIDECAR_KINDS, without_sidecar
from diptych.core.types import Metadata
from diptych.errors import InvalidValue

FILE = "file"
MODIFIED = "modified"
MISSING = "missing"
_RESERVED = {FILE, EXIF}
_FILE_FIELDS = ("name", "folder", MODIFIED, MISSING)


def file_metadata(path: str, modified_s: float | None = None) -> Metadata:
    """The value of `file` for a path within what was added; `modified_s` are seconds since 1970."""
    within = PurePosixPath(path)
    found = {"name": within.name, "folder": str(within.parent)}
    if modified_s is not None:
        try:
            moment = datetime.fromtimestamp(modified_s, UTC).replace(tzinfo=None)
        except (OverflowError, OSError, ValueError):  # a file may have any number
            return found
        found[MODIFIED] = f"{moment.isoformat(timespec='seconds')}Z"
    return found


def with_missing(metadata: Metadata, since: str) -> Metadata:
    """The metadata of an image whose file is missing since a time."""
    file = metadata.get(FILE)
    return metadata | {FILE: (file if isinstance(file, dict) else {}) | {MISSING: since}}


def without_missing(metadata: Metadata) -> Metadata:
    """The metadata of an image whose file is there."""
    if not is_missing(metadata):
        return metadata
    return metadata | {FILE: {key: value for key, value in metadata[FILE].items() if key != MISSING}}


def is_missing(metadata: Metadata) -> bool:
    """Whether the file of an image is known to be missing."""
    file = metadata.get(FILE)
    return isinstance(file, dict) and MISSING in file


def file_path(metadata: Metadata) -> str | None:
    """The path that `file` names, in either form; None if there is none."""
    file = metadata.get(FILE)
    if isinstance(file, dict) and isinstance(name := file.get("name"), str):
        return str(PurePosixPath(str(file.get("folder", ".")), name))
    return file if isinstance(file, str) else None


def reserved_name(metadata: Metadata) -> str | None:
    """The first name that is reserved, or that begins as the path of a field in one; None without."""
    return next((name for name in metadata if name.partition(".")[0] in _RESERVED), None)


def check_reserved(metadata: Metadata) -> None:
    """Raises InvalidValue for a reserved name with another value than diptych writes there."""
    for name in metadata.keys() - _RESERVED:
        if reserved_name({name: None}):
            raise InvalidValue(f"metadata has {name[:40]!r}: names that begin so are reserved; {RENAME}")
    check_exif(metadata.get(EXIF, {}))
    file = metadata.get(FILE, {})
    if not (isinstance(file, str) or _is_file(file)):
        fields = ", ".join(_FILE_FIELDS)
        raise InvalidValue(
            f"'file' is a reserved name: its value must be an object of the texts {fields}, and of what a "
            f"sidecar says: {SIDECAR_KINDS}"
        )


def check_given(metadata: object, max_bytes: int) -> Metadata:
    """Return `metadata` if a caller may give it for an image, without an `exif` that is null.

    Raises InvalidValue, TooLarge.
    """
    if not isinstance(metadata, dict):
        return check_metadata(metadata, max_bytes)
    if EXIF in metadata and metadata[EXIF] is None:  # as a release before EXIF was read may have exported it
        metadata = without_exif(metadata)
    check_metadata(_counted(metadata), max_bytes)
    check_reserved(metadata)
    return metadata


def patched(metadata: Metadata, patch: Metadata, max_bytes: int) -> Metadata:
    """Apply a JSON merge patch to what is stored. Raises InvalidValue, TooLarge.

    Of reserved names only those that the patch has are checked, and a place as a whole: earlier releases may
    have stored others. What a sidecar says cannot be patched: the next scan would overwrite it.
    """
    file = patch.get(FILE)
    if isinstance(file, dict) and (names := sorted(file.keys() & SIDECAR)):
        raise InvalidValue(
            f"'{FILE}.{names[0]}' is what the sidecar of a file says: change it there, or give a name of "
            f"your own, such as {names[0]!r}"
        )
    merged = merge_patch(metadata, patch)
    check_reserved({name: _changed(merged[name], patch[name]) for name in patch if name in merged})
    check_metadata(_counted(merged), max_bytes)
    return merged


def same_metadata(given: Metadata, stored: Metadata) -> bool:
    """Whether both are the same, but for the time when the file was modified, and `exif` from the file."""
    given_rest, stored_rest = (_without_time(without_exif(one)) for one in (given, stored))
    return same_json(given_rest, stored_rest) and has_given_exif(given, stored)


def lacks_given(given: Metadata | None, stored: Metadata) -> bool:
    """Whether what is stored lacks a field that was given, or has another value there; `file` does not count.

    What others have added since does not count either, such as tags.
    """
    given = given or {}
    fields = given.keys() - _RESERVED
    lacks = any(name not in stored or not same_json(given[name], stored[name]) for name in fields)
    return lacks or not has_given_exif(given, stored)


def _is_file(value: object) -> bool:
    return isinstance(value, dict) and all(_is_file_field(name, one) for name, one in value.items())


def _is_file_field(name: str, value: object) -> bool:
    if name in SIDECAR:
        return SIDECAR[name](value)
    return name in _FILE_FIELDS and isinstance(value, str)


def _counted(metadata: Metadata) -> Metadata:
    """The part of metadata that counts against its limit: without what the server itself adds."""
    found = counted(metadata)
    file = found.get(FILE)
    if not (isinstance(file, dict) and _is_file(file)):
        return found
    return found | {FILE: without_sidecar(file)}


def _changed(merged: object, patch: object) -> object:
    """The fields of a merged object that the patch has; any other value is the patch's own."""
    if not (isinstance(merged, dict) and isinstance(patch, dict)):
        return merged
    names = {*patch, *PLACE} if patch.keys() & {*PLACE} else patch.keys()
    return {name: value for name, value in merged.items() if name in names}


def _without_time(metadata: Metadata) -> Metadata:
    file = metadata.get(FILE)
    if not isinstance(file, dict):
        return metadata
    return metadata | {FILE: {key: value for key, value in file.items() if key not in {MODIFIED, MISSING}}}
