"""Keep what was used lately, up to a weight in all; knows nothing of what it is or how it is weighed."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class WeighedCache(Generic[Key, Value]):
    """Bounded by the weights of all; forgets what was used longest ago. Used from one event loop."""

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self._weight = 0
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """It now counts as used."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, weight: int) -> None:
        """Remember it, unless it alone is over the bound."""
        if key in self._entries or weight > self._max_weight:
            return
        self._entries[key] = value, weight
        self._weight += weight
        while self._weight > self._max_weight:
            _, (_, oldest) = self._entries.popitem(last=False)
            self._weight -= oldest
