"""The words under which refusals of the disk are counted. Counts none itself."""

from diptych.errors import StoreFull, StoreReadOnly

DISK_FULL = "disk_full"
DISK_READ_ONLY = "disk_read_only"


def refusal_of(error: BaseException | None) -> str | None:
    """Why the disk took nothing; None when something else went wrong, or nothing."""
    if isinstance(error, StoreFull):
        return DISK_FULL
    return DISK_READ_ONLY if isinstance(error, StoreReadOnly) else None
