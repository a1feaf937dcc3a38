"""Say in one line why torch refuses a pickle, without its advice to load it unsafely; reads nothing."""

import pickle  # only for the class of the refusal
import re

FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")


def refused_pickle(error: BaseException) -> str | None:
    """Why, if this error or what caused it is torch's refusal of anything but tensors; else None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, pickle.UnpicklingError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    found = FORBIDDEN.search(str(cause))
    asked = f"asks for {found[1]}" if found else "holds more than tensors, or is damaged"
    return f"{asked}; only tensors are read from a pickle, nothing in it is run: convert it to safetensors"
