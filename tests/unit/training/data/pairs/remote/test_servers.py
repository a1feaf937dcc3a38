"""Sources at a real web server, and archives in zstd: what the extra `remote` is for."""

import bz2
import gzip
import importlib.util
import lzma
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest

from diptych_training.data.pairs.pair import Entry, Pair, Unusable
from diptych_training.data.pairs.remote import retry, urls
from diptych_training.data.pairs.remote.retry import MAX_UNREACHABLE, UnreachableServers
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.data.pairs.sources.tar_shard import TarShard
from diptych_training.errors import DataError
from support.pair_files import pair_files, picture, write_files
from support.tars import tar_of

pytest.importorskip("aiohttp")
zstd = pytest.importorskip(
    "compression.zstd" if importlib.util.find_spec("compression") else "backports.zstd"
)


@dataclass
class Web:
    """A web server of one folder, and the paths that it was asked for."""

    url: str
    folder: Path
    asked: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)  # what it answers first, before it serves files


class Handler(SimpleHTTPRequestHandler):
    """Serves files, without a word, and notes what it is asked for."""

    def __init__(self, *rest: object, asked: list[str], failures: list[int], directory: str) -> None:
        self._asked, self._failures = asked, failures
        super().__init__(*rest, directory=directory)

    def send_head(self) -> IO[bytes] | None:
        if not self._failures:
            return super().send_head()
        self.send_error(self._failures.pop(0))
        return None

    def log_error(self, format: str, *args: object) -> None:
        """It is noted as what was asked for."""

    def log_message(self, format: str, *args: object) -> None:
        self._asked.append(f"{self.command} {self.path}")


CHUNK = 4_000


class ChunkedHandler(Handler):
    """Sends files in chunks, and tells no length."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._begin()

    def do_GET(self) -> None:
        content = self._begin()
        with suppress(ConnectionError):  # who asks may have enough
            for at in range(0, len(content), CHUNK):
                chunk = content[at : at + CHUNK]
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            if content:
                self.wfile.write(b"0\r\n\r\n")

    def _begin(self) -> bytes:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return b""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        return file.read_bytes()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with serving(tmp_path, monkeypatch, Handler) as web:
        yield web


@pytest.fixture
def chunked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with serving(tmp_path, monkeypatch, ChunkedHandler) as web:
        yield web


@contextmanager
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Handler]) -> Iterator[Web]:
    """A server of a folder of its own, with what is remembered of servers as if none had been asked."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "RETRY_DELAYS_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(urls, "UNREACHABLE", UnreachableServers())
    asked: list[str] = []
    failures: list[int] = []
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(kind, asked=asked, failures=failures, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield Web(f"http://127.0.0.1:{server.server_port}", folder, asked, failures)
    server.shutdown()
    thread.join()
    server.server_close()


def read(*sources: str) -> list[Entry]:
    return [entry for shard in SourceReader().shards(sources) for entry in shard.entries()]


def captions(entries: list[Entry]) -> list[str]:
    return [entry.texts.first for entry in entries if isinstance(entry, Pair)]


def test_shards_and_tables_of_a_web_server_are_read_with_their_signatures(web):
    write_files(web.folder, {"a/s-0.tar": tar_of(pair_files([0])), "a/s-1.TAR": tar_of(pair_files([1]))})
    write_files(web.folder, {"t/T.CSV": b"path,caption\ni/2.png,thing 2\n", "t/i/2.png": picture(2)})
    found = read(f"{web.url}/a/s-0.tar?sig=a/b*c", f"{web.url}/a/s-1.TAR", f"{web.url}/t/T.CSV?sig=x")
    assert captions(found) == ["thing 0", "thing 1", "thing 2"]
    assert [entry.name for entry in found] == ["a/s-0.tar:00000", "a/s-1.TAR:00001", "t/T.CSV:i/2.png"]
    assert any("sig=a/b*c" in path for path in web.asked)


# 8 pairs of 30 kB: each spans many chunks, and is passed over by more than a block.
LARGE = {
    name: content
    for number in range(8)
    for name, content in {
        f"{number}.png": picture(number) + bytes(30_000),
        f"{number}.txt": f"thing {number}".encode(),
    }.items()
}


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_archives_of_a_web_server_that_tells_no_length_are_read_whole(chunked, ending):
    pack = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}
    write_files(chunked.folder, {f"s.{ending}": pack[ending.rpartition(".")[2]](tar_of(LARGE))})
    shard = TarShard(f"{chunked.url}/s.{ending}", "s", 1_000_000)
    found = list(shard.entries())
    assert captions(found) == [f"thing {number}" for number in range(8)]
    assert [entry.image for entry in found] == [LARGE[f"{number}.png"] for number in range(8)]
    assert list(shard.entries(5)) == found[5:]
    assert list(shard.entries(1, 3)) == found[1::3]
    assert captions(list(shard.entries(with_images=False))) == captions(found)


def test_a_parquet_file_of_a_web_server_that_tells_no_length_is_refused_at_once_with_the_reason(chunked):
    pytest.importorskip("pyarrow")
    write_files(chunked.folder, {"t.parquet": b"PAR1"})
    with pytest.raises(DataError, match=r"t\.parquet: its server states no size, .*: copy it to a folder"):
        read(f"{chunked.url}/t.parquet")
    assert len(chunked.asked) <= 3


# An attempt asks twice where it fails: for the size alone, and for the file.
@pytest.mark.parametrize("status", [503, 429])
def test_a_web_server_that_fails_for_a_while_is_asked_again(web, status):
    write_files(web.folder, {"s.tar": tar_of(pair_files([0])), "t.csv": b"path,caption\n1.png,thing 1\n"})
    write_files(web.folder, {"1.png": picture(1)})
    web.failures += [status] * 5
    assert captions(read(f"{web.url}/s.tar")) == ["thing 0"]
    web.failures += [status] * 6
    assert captions(read(f"{web.url}/t.csv")) == ["thing 1"]
    assert web.failures == []


@pytest.mark.parametrize(("name", "n_asked"), [("s.tar", 8), ("t.csv", 8), ("folder", 4)])
def test_a_web_server_that_goes_on_failing_is_an_error_with_its_url_and_answer(web, name, n_asked):
    web.failures += [503] * 100
    url = f"{web.url}/{name}"
    message = f"{url}.*: cannot be read: the server answers 503 Service Unavailable$"
    with pytest.raises(DataError, match=message):
        read(url)
    assert n_asked <= len(web.asked) <= 8


@pytest.mark.parametrize("status", [401, 451])
def test_a_definite_answer_of_a_web_server_is_taken_at_once_and_told(web, status):
    table = web.folder / "t.csv"
    table.write_text(f"path,caption\n{web.url}/1.png,thing 1\n")
    web.failures += [status] * 8
    (found,) = read(str(table))
    assert isinstance(found, Unusable)
    assert found.reason.startswith(f"cannot be read: the server answers {status} ")
    with pytest.raises(DataError, match=rf"s\.tar: cannot be read: the server answers {status}"):
        read(f"{web.url}/s.tar")
    assert len(web.asked) == 4  # two each: for the size alone, and for the file


def dead_urls(n: int) -> list[str]:
    """Servers that refuse connections: each address of this machine's own network is another one."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    return [f"http://127.0.0.{number + 2}:{port}" for number in range(n)]


def test_where_many_servers_are_gone_only_those_that_have_answered_are_waited_for(web, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", waited.append)
    table = web.folder / "t.csv"
    write_files(web.folder, {"1.png": picture(1)})
    rows = "".join(f"{dead}/1.png,a\n" for dead in dead_urls(MAX_UNREACHABLE + 5))
    table.write_text(f"path,caption\n{web.url}/1.png,b\n{rows}")
    assert captions(read(str(table))) == ["b"]
    assert waited == list(retry.RETRY_DELAYS_S) * MAX_UNREACHABLE
    web.failures += [503, 503]
    table.write_text(f"path,caption\n{web.url}/1.png,c\n")
    assert captions(read(str(table))) == ["c"]


def test_attempts_to_read_a_shard_count_anew_after_each_pair_that_came(monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", waited.append)
    begun: list[int] = []

    def one_at_a_time(start: int, step: int) -> Iterator[int]:
        begun.append(start)
        if start < 12:
            yield start
            raise TimeoutError("the line is gone")

    assert list(retry.read_with_retries("http://a/s.tar", one_at_a_time, 0, 2)) == [0, 2, 4, 6, 8, 10]
    assert begun == [0, 2, 4, 6, 8, 10, 12]
    assert waited == [retry.RETRY_DELAYS_S[0]] * 6


@pytest.mark.parametrize("name", ["s.tar", "folder", "s-*.tar"])
def test_a_web_server_that_cannot_be_reached_is_asked_again_and_then_an_error(monkeypatch, name):
    waited: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", waited.append)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    url = f"http://127.0.0.1:{port}/{name}"
    with pytest.raises(DataError, match=rf"127\.0\.0\.1:{port}/.*: cannot be read: .*onnect"):
        read(url)
    assert waited == list(retry.RETRY_DELAYS_S)


def test_archives_in_zstd_are_unpacked_all_frames_of_them_and_damage_is_told(tmp_path):
    payload = tar_of(pair_files(range(9)))
    frames = zstd.compress(payload[:5000]) + zstd.compress(payload[5000:])
    write_files(
        tmp_path, {"s.tar.zst": frames, "cut.tar.zst": frames[: len(frames) - 9], "no.tar.ZST": b"?" * 99}
    )
    assert captions(read(str(tmp_path / "s.tar.zst"))) == [f"thing {number}" for number in range(9)]
    for name in ("cut.tar.zst", "no.tar.ZST"):
        *_, last = read(str(tmp_path / name))
        assert isinstance(last, Unusable)
        assert "the archive cannot be unpacked" in last.reason
