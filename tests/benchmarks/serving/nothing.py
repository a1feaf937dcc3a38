"""A server that does nothing, to weigh the load generator: `python -m benchmarks.serving.nothing PORT`."""

import asyncio
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n\r\n" + bytes(2048)


class Nothing(asyncio.Protocol):
    """The same answer to every request, once its last byte is there; a header comes in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._missing = transport, 0

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._missing = _length(data)
        self._missing -= len(data)
        if not self._missing:
            self._transport.write(ANSWER)


def _length(data: bytes) -> int:
    head = data.partition(b"\r\n\r\n")[0]
    return len(head) + 4 + int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0] or 0)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Nothing, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
