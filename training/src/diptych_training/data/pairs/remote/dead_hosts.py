"""Remember which servers of images could not be reached; knows nothing of how they are asked."""

MAX_SILENT = 10  # servers that are waited for in vain: a table may name thousands that are gone


class Silent:
    """Servers that no attempt has reached, and those that answered, in this process."""

    def __init__(self) -> None:
        self._silent: set[str] = set()
        self._answering: set[str] = set()

    def has(self, server: str) -> bool:
        """Whether to wait is of no use: it was silent, or many were, and it has not answered yet."""
        return server in self._silent or (len(self._silent) >= MAX_SILENT and server not in self._answering)

    def note(self, server: str, *, answers: bool) -> None:
        """What became of the last attempt to reach a server."""
        now, other = (self._answering, self._silent) if answers else (self._silent, self._answering)
        now.add(server)
        other.discard(server)
