"""`diptych-train data shards` writes pairs from any source to shards that other readers understand."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from diptych_training.cli import main
from diptych_training.data.pairs.pair import Pair, Unusable
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.errors import DataError
from support.pair_files import json_file, pair_files, picture, write_files, write_image_table, write_tars
from support.pair_reading import things


def shards(*arguments: object) -> int:
    return main(["data", "shards", *(str(one) for one in arguments)])


def pairs(folder: Path) -> list[Pair]:
    entries = [entry for shard in SourceReader().shards([str(folder)]) for entry in shard.entries()]
    assert not [entry for entry in entries if isinstance(entry, Unusable)]
    return entries


def captions(folder: Path) -> list[str]:
    return [pair.texts.first for pair in pairs(folder)]


def index_of(folder: Path) -> dict:
    return json.loads((folder / "shards.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*")) if file.name != ".lock"}


def test_all_pairs_are_shuffled_and_split_into_shards(tmp_path, capsys):
    write_image_table(tmp_path / "t", 25)
    assert shards(tmp_path / "t" / "pairs.csv", "--out", tmp_path / "o", "--pairs-per-shard", 10) == 0
    assert "25 pairs in 3 shards" in capsys.readouterr().out
    found = captions(tmp_path / "o")
    assert sorted(found) == sorted(things(25))
    assert found != things(25)
    assert {pair.texts.first: pair.image for pair in pairs(tmp_path / "o")}["thing 7"] == picture(7)


def test_other_readers_find_image_and_caption_under_one_name(tmp_path):
    shards(write_tars(tmp_path / "s", 1, 2), "--out", tmp_path / "o", "--shuffle", 0, "--name", "mine")
    with tarfile.open(tmp_path / "o" / "mine-000000.tar") as archive:
        assert archive.getnames() == ["00000000.png", "00000000.txt", "00000001.png", "00000001.txt"]
        assert archive.extractfile("00000001.txt").read() == b"thing 1"


def test_labels_keywords_and_further_captions_are_kept(tmp_path):
    rows = [{"label": "cat", "keywords": ["pet"], "captions": ["a cat"]}, {"caption": ["one", "two"]}]
    files = {f"{n}.{ending}": content for n, row in enumerate(rows) for ending, content in
             {"png": picture(n), "json": json_file(**row)}.items()}  # fmt: skip
    shards(write_files(tmp_path / "f", files), "--out", tmp_path / "o", "--shuffle", 0)
    labelled, plain = (pair.texts for pair in pairs(tmp_path / "o"))
    assert (labelled.label, labelled.keywords, labelled.captions) == ("cat", ("pet",), ("a cat",))
    assert (plain.label, plain.captions) == (None, ("one", "two"))


def test_the_index_counts_pairs_bytes_and_digests_and_inspect_verifies_them(tmp_path, capsys):
    shards(write_tars(tmp_path / "s", 1, 5), "--out", tmp_path / "o", "--pairs-per-shard", 3)
    index = index_of(tmp_path / "o")
    assert (index["n_pairs"], index["is_complete"]) == (5, True)
    assert [shard["n_pairs"] for shard in index["shards"]] == [3, 2]
    for shard in index["shards"]:
        assert (tmp_path / "o" / shard["file"]).stat().st_size == shard["n_bytes"]
    assert main(["data", "inspect", str(tmp_path / "o"), "--verify"]) == 0
    assert "every shard has the sha256 that the index says" in capsys.readouterr().out
    file = tmp_path / "o" / "pairs-000001.tar"
    file.write_bytes(file.read_bytes().replace(b"thing", b"think"))
    assert main(["data", "inspect", str(tmp_path / "o"), "--verify"]) == 1
    assert "pairs-000001.tar has changed since it was written" in capsys.readouterr().err


def test_too_many_unusable_entries_stop_the_run_and_the_last_one_is_named(tmp_path, capsys):
    files = {**pair_files(range(5)), **{f"mute-{number}.png": picture(0) for number in range(12)}}
    assert shards(write_files(tmp_path / "f", files), "--out", tmp_path / "o", "--shuffle", 0) == 1
    told = capsys.readouterr().err
    assert (
        "mute-10.png: it has no text file next to it. It is one of 11 unusable" not in told
    )  # sorted by name
    assert "one of 11 unusable of the 16 entries so far; --max-skipped allows 0.01 of them, and 10" in told
    assert shards(tmp_path / "f", "--out", tmp_path / "o", "--shuffle", 0, "--max-skipped", 0.9) == 0


def test_large_images_are_scaled_down_and_small_ones_unchanged(tmp_path):
    large = Image.effect_noise((90, 60), 50).convert("RGB")
    files = {}
    for name, image_format in (("a", "JPEG"), ("b", "PNG"), ("c", "WEBP")):
        out = io.BytesIO()
        large.save(out, image_format)
        files |= {f"{name}.{image_format.lower()}": out.getvalue(), f"{name}.txt": b"noise"}
    files |= {"d.png": picture(3), "d.txt": b"small"}
    shards(write_files(tmp_path / "f", files), "--out", tmp_path / "o", "--size", 30, "--shuffle", 0)
    found = []
    for pair in pairs(tmp_path / "o"):
        with Image.open(io.BytesIO(pair.image)) as image:
            found.append((image.format, image.size))
    assert found == [("JPEG", (45, 30)), ("PNG", (45, 30)), ("JPEG", (45, 30)), ("PNG", (16, 16))]
    assert pairs(tmp_path / "o")[3].image == picture(3)


def test_writing_again_changes_nothing_and_other_options_are_an_error(tmp_path, capsys):
    pattern = write_tars(tmp_path / "s", 2, 4)
    shards(pattern, "--out", tmp_path / "o")
    before = contents(tmp_path / "o")
    assert shards(pattern, "--out", tmp_path / "o", "--jobs", 1) == 0
    assert contents(tmp_path / "o") == before
    assert shards(pattern, "--out", tmp_path / "o", "--seed", 3) == 1
    assert (
        "holds shards made with other options (seed was 0, is 3): choose another" in capsys.readouterr().err
    )


KILLED = """
import os, signal, sys
from diptych_training.cli import main
from diptych_training.data.pairs.tools import shards
n_left, write = int(sys.argv[1]), shards.write_shards
def write_until_killed(out, sources, plan, watch):
    def count(n_pairs, n_skipped):
        global n_left
        n_left -= n_pairs
        if n_left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        watch(n_pairs, n_skipped)
    return write(out, sources, plan, count)
shards.write_shards = write_until_killed
main(sys.argv[2:])
"""  # kills itself once it has added so many pairs


@pytest.mark.long
def test_run_continued_after_a_kill_writes_the_shards_of_an_uninterrupted_one(tmp_path, capsys):
    source = write_image_table(tmp_path / "t", 23)
    (tmp_path / "t" / "images" / "9.png").unlink()
    arguments = ["data", "shards", str(source), "--pairs-per-shard", "4", "--shuffle", "7", "--out"]
    main([*arguments, str(tmp_path / "uninterrupted")])
    killed = [sys.executable, "-c", KILLED, "11", *arguments, str(tmp_path / "killed")]
    done = subprocess.run(killed, check=False, capture_output=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert [shard["n_pairs"] for shard in index_of(tmp_path / "killed")["shards"]] == [4, 4]
    with pytest.raises(DataError, match="of a run that was stopped"):
        SourceReader().shards([str(tmp_path / "killed")])
    assert main([*arguments, str(tmp_path / "killed")]) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "uninterrupted")
    assert sorted(captions(tmp_path / "killed")) == sorted(set(things(23)) - {"thing 9"})
