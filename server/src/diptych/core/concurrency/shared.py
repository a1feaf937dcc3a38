"""A resource that several owners use, and that is closed once the last of them has released it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Counts the owners of `value`. Only on the event loop, so that no count is lost."""

    def __init__(self, value: T, close: Callable[[T], object], n_owners: int = 1) -> None:
        """`close` is called once, by the last release; what takes long there runs in the background."""
        assert n_owners > 0, "nobody would close it"
        self.value = value
        self._close = close
        self._n_owners = n_owners

    def retain(self) -> Self:
        """Add an owner, which must release it."""
        assert self._n_owners > 0, "it is closed"
        self._n_owners += 1
        return self

    def release(self) -> None:
        """Remove an owner; without any, the value is closed."""
        assert self._n_owners > 0, "it is closed"
        self._n_owners -= 1
        if not self._n_owners:
            self._close(self.value)

    @contextmanager
    def use(self) -> Iterator[T]:
        """The value, which stays open inside the block."""
        self.retain()
        try:
            yield self.value
        finally:
            self.release()
