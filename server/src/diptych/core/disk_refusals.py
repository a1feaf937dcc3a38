"""The words under which refusals of the disk are counted. Counts none itself."""

from typing import Final

from diptych.core.ports import Reason
from diptych.errors import StoreFull, StoreReadOnly

DISK_FULL: Final = "disk_full"
DISK_READ_ONLY: Final = "disk_read_only"


def refusal_of(error: BaseException | None) -> Reason | None:
    """Why the disk took nothing; None when something else went wrong, or nothing."""
    if isinstance(error, StoreFull):
        return DISK_FULL
    return DISK_READ_ONLY if isinstance(error, StoreReadOnly) else None
