"""Make a call look like a method; knows nothing of what the call does."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def bound_like(call: Callable[..., Any], method: Method) -> Method:
    """`method` with the name, the docstring and, behind `self`, the parameters of `call`, for help()."""
    signature = inspect.signature(call)
    returns = str(signature.return_annotation).removeprefix("Steps[").removesuffix("]")
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__name__ = call.__name__
    method.__qualname__ = call.__qualname__
    method.__doc__ = call.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[me, *signature.parameters.values()], return_annotation=returns
    )
    return method
