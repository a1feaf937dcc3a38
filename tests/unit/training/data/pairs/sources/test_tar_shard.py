"""Tar shards: what is a pair, and what becomes of archives that are damaged or odd."""

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from diptych_training.data.pairs.pair import Pair, Texts, Unusable
from diptych_training.data.pairs.remote import retry, unpack
from diptych_training.data.pairs.sources.tar_shard import TarShard
from support.pair_files import json_file, pair_files, picture
from support.tars import tar_of

LIMIT = 1_000_000


def shard(tmp_path: Path, payload: bytes, name: str = "s.tar") -> TarShard:
    (tmp_path / name).write_bytes(payload)
    return TarShard(str(tmp_path / name), name, LIMIT)


@pytest.mark.parametrize(("start", "step"), [(0, 2), (1, 3), (2, 3), (9, 2)])
@pytest.mark.parametrize("n_bytes", [None, 4096 + 600])
def test_every_nth_pair_is_read_alone_and_damage_is_told_once(tmp_path, start, step, n_bytes):
    whole = tar_of(pair_files(range(5)), tarfile.USTAR_FORMAT)[:n_bytes]
    source = shard(tmp_path, whole)
    assert list(source.entries(start, step)) == list(source.entries())[start::step]


@pytest.mark.parametrize(
    ("json", "texts"),
    [
        (json_file(caption="a cat"), Texts(("a cat",))),
        (json_file(caption=["a cat", " ", "a pet "]), Texts(("a cat", "a pet"))),
        (json_file(captions=["one"]), Texts(("one",))),
        (json_file(label="cat", keywords=["pet"], captions=["x"]), Texts(("x",), "cat", ("pet",))),
        (json_file(label="cat", keywords=["", "pet"], captions=["\u200b"]), Texts((), "cat", ("pet",))),
        (json_file(label="\t", captions=["a cat"]), Texts(("a cat",))),
        (json_file(label="", caption=" "), Texts(("from the text file",))),
        (json_file(status="ok"), Texts(("from the text file",))),
    ],
)
def test_a_json_file_may_hold_the_texts(tmp_path, json, texts):
    files = {"a.jpg": picture(1, "JPEG"), "a.json": json, "a.txt": b"from the text file\n"}
    assert next(shard(tmp_path, tar_of(files)).entries()).texts == texts


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.txt": b"words"}, "it has no image"),
        ({"a.png": b"x"}, "it has no caption"),
        ({"a.png": b"x", "a.txt": b" \n"}, "its caption is empty"),
        ({"a.png": b"x", "a.txt": "\u200b\xa0\x00".encode()}, "its caption is empty"),
        (
            {"a.png": b"x", "a.json": json_file(label=" ", captions=[""])},
            "its caption is empty or missing",
        ),
        ({"a.png": b"x", "a.txt": b"\xff\xfe"}, "its caption is not UTF-8"),
        ({"a.png": b"x", "a.json": b"{"}, "its JSON cannot be read"),
        ({"a.png": b"x", "a.json": b"[" * 90_000}, "its JSON cannot be read"),
        ({"a.png": b"x", "a.json": b"[]"}, "its JSON is not an object"),
        ({"a.png": b"x", "a.json": json_file(caption=3)}, "neither a text nor a list"),
        ({"a.png": b"x" * (LIMIT + 1), "a.txt": b"words"}, f"a.png has {LIMIT + 1} bytes, limit is {LIMIT}"),
        ({"a.png": b"x", "a.txt": b"x" * 100_001}, "a.txt has 100001 bytes, limit is 100000"),
    ],
)
def test_what_is_no_pair_says_why_and_the_next_one_follows(tmp_path, files, reason):
    first, second = shard(tmp_path, tar_of({**files, **pair_files([1])})).entries()
    assert isinstance(first, Unusable)
    assert first.name == "s.tar:a"
    assert reason in first.reason
    assert isinstance(second, Pair)


@pytest.mark.parametrize("n_bytes", [4096, 4100, 4096 + 600, 4096 + 1024, 4096 + 1600])
def test_pairs_before_the_damage_are_kept_and_one_entry_tells_of_the_rest(tmp_path, n_bytes):
    whole = tar_of(pair_files(range(4)), tarfile.USTAR_FORMAT)  # 2,048 bytes a pair
    *pairs, last = shard(tmp_path, whole[:n_bytes]).entries()
    assert [one.texts.first for one in pairs] == ["thing 0", "thing 1"][: 1 + (n_bytes >= 4608)]
    assert last.name == "s.tar"
    assert "is cut off at byte" in last.reason
    assert "the rest is lost" in last.reason
    source = shard(tmp_path, whole[:n_bytes])
    assert list(source.entries(len(pairs))) == [last]
    assert list(source.entries(len(pairs) + 1)) == []


@pytest.mark.parametrize(("name", "size"), [("a.png", 2**62), ("a.txt", 2**63), ("other", 2**70)])
def test_size_beyond_what_an_offset_can_hold_is_damage(tmp_path, name, size):
    header = bytearray(tar_of({name: b"x"}, tarfile.USTAR_FORMAT)[:512])
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * ord(" ") + sum(header[156:]))
    good = tar_of(pair_files([1]), tarfile.USTAR_FORMAT)[:2048]
    *_, last = shard(tmp_path, good + bytes(header) + bytes(2048)).entries()
    assert isinstance(last, Unusable)
    assert "impossible size" in last.reason


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_compressed_shard_that_ends_early_or_is_no_such_file_is_damaged(tmp_path, ending, pack):
    payload = pack(tar_of(pair_files(range(40))))
    for damaged in (payload[: len(payload) // 2], payload[:9] + b"?" * 99, b"not compressed"):
        *_, last = shard(tmp_path, damaged, f"s.tar.{ending}").entries()
        assert last.name == f"s.tar.{ending}"
        assert "the archive cannot be unpacked: " in last.reason


class Flaky(io.BytesIO):
    """A server's file that breaks off every so many bytes."""

    left = 3000

    def read(self, size: int | None = -1, /) -> bytes:
        Flaky.left -= size or 0
        if Flaky.left < 0:
            Flaky.left = 30_000
            raise ConnectionError("reset by peer")
        return super().read(size)


def test_a_server_that_breaks_off_is_asked_again_and_nothing_is_lost_or_doubled(monkeypatch):
    payload = tar_of(pair_files(range(9)))
    monkeypatch.setattr(unpack, "open_url", lambda url: Flaky(payload))
    monkeypatch.setattr(retry, "RETRY_DELAYS_S", (0.0, 0.0, 0.0, 0.0))
    found = [one.name for one in TarShard("s3://bucket/s.tar", "s.tar", LIMIT).entries()]
    assert found == [f"s.tar:{number:05}" for number in range(9)]
