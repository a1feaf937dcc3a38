"""Split a multipart/form-data body into its parts, in body order. Knows no field by name."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from diptych.errors import Malformed, TooLarge
from diptych.http.body import BodyLimits, stream_body

if TYPE_CHECKING:  # a type that the library defines for type checkers only
    from python_multipart.multipart import MultipartCallbacks


@dataclass
class Part:
    """One field: its name and its bytes. File names are not kept: nothing here depends on them."""

    name: str
    data: bytearray = field(default_factory=bytearray)
    is_whole: bool = False  # all of it has come

    def text(self, item: str) -> str:
        """The bytes as UTF-8; Malformed names `item`."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"text must be UTF-8, byte {error.start} is not", item) from None


async def read_parts(request: Request, limits: BodyLimits, max_parts: int, bound: str) -> list[Part]:
    """All parts; `bound` says in words why there are at most `max_parts`.

    Malformed: no boundary, a part without a name, an unfinished body. TooLarge: too many parts or bytes.
    """
    collector = Collector(request, max_parts, bound)
    await stream_body(request, lambda: limits, collector.feed)
    return collector.finish()


class Collector:
    """Fed with the body as it comes; `parts` are those that have begun so far, in body order.

    Malformed: no boundary, a part without a name, an unfinished body. TooLarge: too many parts, or one of
    over `max_part_bytes`.
    """

    def __init__(
        self, request: Request, max_parts: int, bound: str, max_part_bytes: int = sys.maxsize
    ) -> None:
        _, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if not boundary:
            raise Malformed("multipart body without a boundary in its Content-Type")
        self._max_parts = max_parts
        self._bound = bound
        self._max_part_bytes = max_part_bytes
        self.parts: list[Part] = []
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._name: bytes | None = None
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        with _translated():
            self._parser = MultipartParser(boundary, callbacks)

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        with _translated():
            self._parser.write(chunk)

    def finish(self) -> list[Part]:
        """All parts, when the body is over."""
        if not self._ended:
            raise Malformed("multipart body ends before its closing boundary")
        return self.parts

    def _begin(self) -> None:
        if len(self.parts) >= self._max_parts:
            raise TooLarge(f"body has more than {self._max_parts} parts: {self._bound}")
        self._name = None
        self._header_name.clear()
        self._header_value.clear()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._name = options.get(b"name")
        self._header_name.clear()
        self._header_value.clear()

    def _open(self) -> None:
        if not self._name:
            raise Malformed(f"part {len(self.parts)} of the multipart body has no name")
        try:
            self.parts.append(Part(self._name.decode()))
        except UnicodeDecodeError:
            raise Malformed(f"the name of part {len(self.parts)} is not UTF-8") from None

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        if len(part.data) + end - start > self._max_part_bytes:
            raise TooLarge(f"part {len(self.parts) - 1} of the body has over {self._max_part_bytes} bytes")
        part.data += data[start:end]

    def _end_part(self) -> None:
        self.parts[-1].is_whole = True

    def _end(self) -> None:
        self._ended = True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise Malformed(f"not a multipart body: {error}") from None
