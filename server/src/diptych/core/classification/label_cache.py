"""Keep the embeddings of labels that were used lately; knows nothing of how they are made."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence

from diptych.core.types import TextEmbedding

Key = tuple[str, str]  # (digest of the model and the templates, label)


def keys_of(identity: str, templates: Sequence[str], labels: Sequence[str]) -> list[Key]:
    """One key per label. Templates go in as a digest: fifty thousand entries must not hold their texts."""
    digest = hashlib.sha256(json.dumps([identity, *templates]).encode()).hexdigest()
    return [(digest, label) for label in labels]


class LabelCache:
    """A bounded map that forgets what was used longest ago. Used from one event loop."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, TextEmbedding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get_many(self, keys: Sequence[Key]) -> dict[Key, TextEmbedding]:
        """Those of the keys that are here; they now count as used."""
        found = {key: self._entries[key] for key in keys if key in self._entries}
        for key in found:
            self._entries.move_to_end(key)
        return found

    def put_many(self, entries: dict[Key, TextEmbedding]) -> None:
        """Remember these, and forget the oldest beyond the bound."""
        self._entries.update(entries)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
