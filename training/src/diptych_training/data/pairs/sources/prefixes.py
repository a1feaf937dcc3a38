"""What names of pairs begin with: the end of their source's path, as short as tells it from the others.

Knows nothing of what sources hold.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from diptych_training.data.pairs.remote.retry import is_local
from diptych_training.data.pairs.remote.urls import without_query


def prefixes_of(sources: Mapping[str, int]) -> dict[str, str]:
    """The prefix of each path or URL: at least so many of the last parts of its path, and no more than are
    needed. Only what is the same file, however it is written, shares its prefix."""
    plain = Counter(without_query(source) for source in sources)
    paths = {source: _path(source, plain) for source in sources}
    lengths = {paths[source]: n for source, n in sources.items()}
    found: dict[str, str] = {}
    while lengths:
        sharing: defaultdict[str, list[str]] = defaultdict(list)
        for path, n in lengths.items():
            sharing[_end(path, n)].append(path)
        for prefix, alike in sharing.items():
            for path in alike:
                lengths[path] += 1
            if len(alike) == 1:
                found[alike[0]] = prefix
                del lengths[alike[0]]
    return {source: found[path] for source, path in paths.items()}


def _path(source: str, plain: Mapping[str, int]) -> str:
    """A query is a part of the name only where nothing else tells two files."""
    if is_local(source):
        return os.path.normpath(Path(source).absolute())
    return source if plain[without_query(source)] > 1 else without_query(source)


def _end(path: str, n: int) -> str:
    parts = [part for part in path.split("/") if part]
    return "/".join(parts[-n:]) if n <= len(parts) else path
