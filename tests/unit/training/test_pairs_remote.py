"""Sources at a real web server, and archives in zstd: what the extra `remote` is for."""

import importlib.util
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from diptych_training.data.pairs import changes
from diptych_training.data.pairs.pair import Entry, Pair, Unusable
from diptych_training.data.pairs.sources import SourceReader
from diptych_training.data.pairs.tar_shard import TarShard
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


class Handler(SimpleHTTPRequestHandler):
    """Serves files, without a word, and notes what it is asked for."""

    def __init__(self, *rest: object, asked: list[str], directory: str) -> None:
        self._asked = asked
        super().__init__(*rest, directory=directory)

    def log_message(self, format: str, *args: object) -> None:
        self._asked.append(f"{self.command} {self.path}")


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []
    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, asked=asked, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield Web(f"http://127.0.0.1:{server.server_port}", folder, asked)
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


def test_a_file_of_a_web_server_that_changes_is_noticed(web):
    write_files(web.folder, {"s.tar": tar_of(pair_files([0]))})
    shards = [TarShard(f"{web.url}/s.tar", "s.tar", 1_000_000), TarShard(f"{web.url}/no.tar", "no.tar", 1)]
    before = changes.fingerprints(shards)
    assert before.endswith(changes.UNKNOWN)
    assert changes.changed_files(shards, before, changes.fingerprints(shards)) == []
    write_files(web.folder, {"s.tar": tar_of(pair_files(range(9)))})
    assert changes.changed_files(shards, before, changes.fingerprints(shards)) == [f"{web.url}/s.tar"]


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
