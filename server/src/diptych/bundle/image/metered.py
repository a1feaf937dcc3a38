"""A file in memory that is read in a bounded number of pieces; knows nothing of what is in it."""

import io

from diptych.errors import TooLarge


class MeteredFile(io.BytesIO):
    """What reads a file block by block in Python takes a second for each million of them.

    A format that lets blocks be empty packs millions into a small file, where honest ones have thousands.
    """

    def __init__(self, payload: bytes, max_reads: int) -> None:
        super().__init__(payload)
        self._max_reads = max_reads
        self._n_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file. Raises TooLarge from one read more than `max_reads` on."""
        self._n_reads += 1
        if self._n_reads > self._max_reads:
            raise TooLarge(f"image is cut into too many pieces, over {self._max_reads} reads")
        return super().read(size)
