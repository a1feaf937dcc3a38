"""Split a multipart/form-data body into its parts, in body order. Knows no field by name."""

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
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise Malformed("multipart body without a boundary in its Content-Type")
    try:
        collector = _Collector(boundary, max_parts, bound)
        await stream_body(request, limits, collector.feed)
        return collector.finish()
    except FormParserError as error:
        raise Malformed(f"not a multipart body: {error}") from None


class _Collector:
    """Callbacks of the incremental parser."""

    def __init__(self, boundary: bytes, max_parts: int, bound: str) -> None:
        self._max_parts = max_parts
        self._bound = bound
        self._parts: list[Part] = []
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
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def finish(self) -> list[Part]:
        if not self._ended:
            raise Malformed("multipart body ends before its closing boundary")
        return self._parts

    def _begin(self) -> None:
        if len(self._parts) >= self._max_parts:
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
            raise Malformed(f"part {len(self._parts)} of the multipart body has no name")
        try:
            self._parts.append(Part(self._name.decode()))
        except UnicodeDecodeError:
            raise Malformed(f"the name of part {len(self._parts)} is not UTF-8") from None

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._parts[-1].data += data[start:end]

    def _end(self) -> None:
        self._ended = True
