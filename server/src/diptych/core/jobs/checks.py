"""Items of a job that cannot be stored get their error before the job is accepted. Knows no store."""

from collections.abc import Sequence
from dataclasses import replace

from diptych.core.collections.ids import check_id
from diptych.core.collections.metadata import check_metadata
from diptych.core.job import JobItem
from diptych.errors import InputError


def checked(items: Sequence[JobItem], max_metadata_bytes: int) -> list[JobItem]:
    """The same items; those with a bad id or metadata have an error, and neither of them any more."""
    return [_checked(item, max_metadata_bytes) for item in items]


def _checked(item: JobItem, max_metadata_bytes: int) -> JobItem:
    try:
        if item.metadata is not None:
            check_metadata(item.metadata, max_metadata_bytes)
    except InputError as error:
        return replace(item, id=None, metadata=None, error=item.error or error.named("metadata"))
    try:
        if item.id is not None:
            check_id(item.id)
    except InputError as error:
        return replace(item, id=None, metadata=None, error=item.error or error.named("id"))
    return item
