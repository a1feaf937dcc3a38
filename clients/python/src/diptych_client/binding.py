"""Give a method the name, docstring and signature of a call, for help()."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def bound_like(call: Callable[..., Any], method: Method) -> Method:
    """Return `method` with the name, the docstring and, after `self`, the parameters of `call`."""
    signature = inspect.signature(call)
    returns = str(signature.return_annotation).removeprefix("Steps[").removesuffix("]")
    self_parameter = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__name__ = call.__name__
    method.__qualname__ = call.__qualname__
    method.__doc__ = call.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[self_parameter, *signature.parameters.values()], return_annotation=returns
    )
    return method
