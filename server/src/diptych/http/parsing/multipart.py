"""Read the parts of a multipart/form-data body, in body order."""

import math
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from diptych.errors import Malformed, TooLarge
from diptych.http.options import BodyLimits
from diptych.http.parsing.body import body_chunks


@dataclass(frozen=True)
class Part:
    """One field: its name and its bytes. File names are dropped, as no endpoint uses them."""

    name: str
    data: bytes

    def text(self, item: str) -> str:
        """The bytes decoded as UTF-8. Raises Malformed that names `item`."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"text must be UTF-8, byte {error.start} is not", item) from None


class PartsReader(MultiPartParser):
    """Starlette's parser with limits on parts; `bound` explains `max_parts` in the error message.

    Parts stay in memory and never go to a temporary file, as the chunks are limited already. Raises Malformed
    if the Content-Type has no boundary.
    """

    spool_max_size = sys.maxsize

    def __init__(
        self,
        request: Request,
        chunks: AsyncGenerator[bytes, None],
        max_parts: int,
        bound: str,
        max_part_bytes: int = sys.maxsize,
    ) -> None:
        _, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary", b"").decode("latin-1")
        if not boundary or any(character in boundary for character in '"\\'):
            raise Malformed("multipart body without a boundary in its Content-Type")
        # Decoding as Latin-1 preserves every byte of a field.
        content_type = f'multipart/form-data; boundary="{boundary}"; charset=latin-1'
        super().__init__(
            Headers({"content-type": content_type}),
            self._require_end(chunks),
            max_files=math.inf,
            max_fields=math.inf,
            max_part_size=sys.maxsize,
        )
        self._max_parts = max_parts
        self._bound = bound
        self._max_part_bytes = max_part_bytes
        self._n_parts = 0
        self._n_part_bytes = 0
        self._has_ended = False

    async def read(self) -> None:
        """Read the whole body; its parts are in `items`.

        Raises Malformed for a part without a name or an incomplete body, TooLarge for too many parts or
        bytes.
        """
        try:
            await self.parse()
        except MultiPartException as error:
            if (
                error.__cause__ is None
            ):  # of Starlette itself, which with these limits only rejects missing names
                raise self._missing_name() from None
            raise Malformed(f"not a multipart body: {error.__cause__}") from None

    async def _require_end(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield the chunks; raise Malformed if the closing boundary is missing.

        Raised in here, so that the parser closes its files.
        """
        async for chunk in chunks:
            yield chunk
        if not self._has_ended:
            raise Malformed("multipart body ends before its closing boundary")

    def on_part_begin(self) -> None:
        """Count a part. Called by the parser."""
        self._n_parts += 1
        self._n_part_bytes = 0
        if self._n_parts > self._max_parts:
            raise TooLarge(f"body has more than {self._max_parts} parts: {self._bound}")
        super().on_part_begin()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Count bytes of the current part. Called by the parser."""
        self._n_part_bytes += end - start
        if self._n_part_bytes > self._max_part_bytes:
            raise TooLarge(f"part {self._n_parts - 1} of the body has over {self._max_part_bytes} bytes")
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        """Decode the name of a complete part. Called by the parser.

        Raises Malformed when the name is empty or not UTF-8.
        """
        super().on_part_end()
        name, value = self.items[-1]
        if not name:
            raise self._missing_name()
        try:
            self.items[-1] = (name.encode("latin-1").decode(), value)
        except UnicodeDecodeError:
            raise Malformed(
                f"the name of part {self._n_parts - 1} of the multipart body is not UTF-8"
            ) from None

    def _missing_name(self) -> Malformed:
        return Malformed(f"part {self._n_parts - 1} of the multipart body has no name")

    def on_end(self) -> None:
        """Note the closing boundary. Called by the parser."""
        self._has_ended = True


async def read_parts(request: Request, limits: BodyLimits, max_parts: int, bound: str) -> list[Part]:
    """Read all parts. Raises Malformed, TooLarge, HTTPException 415 and 408."""
    reader = PartsReader(request, body_chunks(request, lambda: limits), max_parts, bound)
    await reader.read()
    return [read_part(*item) for item in reader.items]


def read_part(name: str, value: str | UploadFile) -> Part:
    """The bytes of a field, sent with a file name or without one.

    Call it once for each: it closes the file.
    """
    if isinstance(value, str):
        return Part(name, value.encode("latin-1"))
    with value.file as file:
        return Part(name, file.read())
