"""Translates errors of the object store into ours, without what its answers quote, such as keys."""

import re

from diptych.errors import StoreError, StoreFull, StoreUnavailable

_STORE = "the object store that DIPTYCH_ORIGINALS names"
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "EntityTooLarge"}
_NO_BUCKET = "NoSuchBucket"
_REFUSALS = {401, 403}
_NO_CREDENTIALS = "/latest/api/token"  # the last place where they are looked for: the machine's own service


def is_missing_bucket(error: Exception) -> bool:
    """Whether there is no bucket, rather than no object."""
    return _code(error) == _NO_BUCKET


def is_outage(error: Exception) -> bool:
    """Whether all other requests would fail, too: no answer, or one of the store's own failures."""
    status = _status(error)
    return (status == 0 or status >= 500 or is_missing_bucket(error)) and _code(error) not in _FULL


def reason_of(error: Exception) -> str:
    """What to tell a person: the kind of the error, and what to do."""
    code, status = _code(error), _status(error)
    named = code or (f"status {status}" if status else "")
    if code == _NO_BUCKET:
        return f"{_STORE} has no such bucket: make it"
    if status in _REFUSALS:
        return f"{_STORE} refuses access ({named}): see the variables AWS_..., and the rights of that key"
    if _NO_CREDENTIALS in str(error):
        return f"no credentials for {_STORE}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if named:
        return f"{_STORE} answers with an error ({named})"
    return f"{_STORE} cannot be reached"


def translated(error: Exception) -> StoreError:
    """The error to raise."""
    if _code(error) in _FULL:
        return StoreFull(f"{_STORE} has no space left ({_code(error)})")
    return StoreUnavailable(reason_of(error))


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _status(error: Exception) -> int:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0
