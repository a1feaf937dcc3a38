"""A bounded cache of what was used recently."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class WeighedCache(Generic[Key, Value]):
    """A map bounded by the total weight of its values; evicts the least recently used. Used from one event
    loop.
    """

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self._weight = 0
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the value, which counts as used now, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, weight: int) -> None:
        """Add a value, unless its weight alone exceeds the bound."""
        if key in self._entries or weight > self._max_weight:
            return
        self._entries[key] = value, weight
        self._weight += weight
        while self._weight > self._max_weight:
            _, (_, oldest) = self._entries.popitem(last=False)
            self._weight -= oldest
