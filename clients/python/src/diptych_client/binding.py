"""Make calls methods of both clients, with the names, docstrings and signatures of their functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from diptych_client.steps import Steps

P = ParamSpec("P")
T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])
Client_ = TypeVar("Client_", bound=type)


class Blocking(Protocol):
    """Carries out the steps of a call and returns its result, as `Client` does."""

    def run(self, steps: Steps[T]) -> T:
        """See the class."""


class NonBlocking(Protocol):
    """Carries out the steps of a call without blocking the event loop, as `AsyncClient` does."""

    async def run(self, steps: Steps[T]) -> T:
        """See the class."""


class Call(Generic[P, T]):
    """A call as a class attribute: a blocking method of `Client`, a coroutine method of `AsyncClient`."""

    def __init__(self, steps: Callable[P, Steps[T]]) -> None:
        def blocking(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return self.run(steps(*args, **kwargs))

        async def awaited(self: NonBlocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await self.run(steps(*args, **kwargs))

        self._blocking, self._awaited = _bound_like(steps, blocking), _bound_like(steps, awaited)

    @overload
    def __get__(self, client: Blocking, kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: NonBlocking, kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, kind: type) -> Callable[..., Any]: ...
    def __get__(self, client: Any, kind: Any) -> Any:
        is_async = inspect.iscoroutinefunction(getattr(kind, "run", None))
        method: Any = self._awaited if is_async else self._blocking
        return method if client is None else method.__get__(client, kind)


def with_own_methods(client: Client_) -> Client_:
    """Make the calls functions of the class itself: `vars`, help() and `create_autospec` look for these."""
    for name, attribute in inspect.getmembers_static(client):
        if isinstance(attribute, Call):
            setattr(client, name, getattr(client, name))
    return client


def _bound_like(call: Callable[..., Any], method: Method) -> Method:
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
