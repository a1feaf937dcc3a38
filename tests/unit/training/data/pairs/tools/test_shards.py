"""`diptych-train data shards`: from any source to shards that every reader of such shards understands."""

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
from diptych_training.files import exclusive_lock
from diptych_training.data.pairs.pair import Pair, Unusable
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.errors import DataError
from support.pair_files import json_file, pair_files, picture, write_files, write_image_table, write_tars
from support.tiny_run import write_tiny_dataset


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


def things(n: int) -> list[str]:
    return [f"thing {number}" for number in range(n)]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*")) if file.name != ".lock"}


def test_all_pairs_come_through_mixed_and_split(tmp_path, capsys):
    write_image_table(tmp_path / "t", 25)
    assert shards(tmp_path / "t" / "pairs.csv", "--out", tmp_path / "o", "--pairs-per-shard", 10) == 0
    assert "25 pairs in 3 shards" in capsys.readouterr().out
    found = captions(tmp_path / "o")
    assert sorted(found) == sorted(things(25))
    assert found != things(25)
    assert {pair.texts.first: pair.image for pair in pairs(tmp_path / "o")}["thing 7"] == picture(7)


def test_the_order_of_the_sources_can_be_kept(tmp_path):
    pattern = write_tars(tmp_path / "s", 3, 4)
    shards(pattern, "--out", tmp_path / "o", "--shuffle", 0)
    assert captions(tmp_path / "o") == things(12)


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


def test_the_training_part_of_a_packed_data_set_can_be_written(tmp_path):
    dataset = write_tiny_dataset(tmp_path / "d", n_icons=3)
    shards(tmp_path / "d", "--out", tmp_path / "o", "--shuffle", 0)
    first = pairs(tmp_path / "o")[0]
    assert first.texts.label == "thing 0"
    with Image.open(io.BytesIO(first.image)) as image:
        assert image.tobytes() == dataset.source("train-set").images[0].tobytes()


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


def test_unusable_entries_are_left_out_counted_and_told(tmp_path, capsys):
    files = {
        **pair_files(range(5)),
        "bad.png": picture(0)[:45],
        "bad.txt": b"x",
        "odd.png": b"?",
        "odd.txt": b"x",
    }
    assert (
        shards(write_files(tmp_path / "f", {**files, "mute.png": picture(0)}), "--out", tmp_path / "o") == 0
    )
    told = capsys.readouterr().out
    assert "5 pairs in 1 shards" in told
    assert "1 skipped: it has no text file beside it" in told
    assert "1 skipped: not an image in one of" in told
    assert sum(index_of(tmp_path / "o")["shards"][0]["skipped"].values()) == 3


def test_entries_that_are_skipped_after_the_last_shard_are_counted_too(tmp_path, capsys):
    files = {**pair_files(range(4)), "x.png": picture(0), "y.png": b"?", "y.txt": b"words"}
    arguments = [
        write_files(tmp_path / "f", files),
        "--out",
        tmp_path / "o",
        "--pairs-per-shard",
        2,
        "--shuffle",
        0,
    ]
    for _ in range(2):
        assert shards(*arguments) == 0
        told = capsys.readouterr().out
        assert "1 skipped: it has no text file beside it" in told
        assert "1 skipped: not an image in one of" in told
    index = index_of(tmp_path / "o")
    assert [shard["skipped"] for shard in index["shards"]] == [{}, {}]
    assert sum(index["skipped_at_end"].values()) == 2
    assert main(["data", "inspect", str(tmp_path / "o")]) == 0
    assert "4 pairs in" in (told := capsys.readouterr().out)
    assert "2 were unusable" in told


def test_an_index_of_before_that_is_read_as_it_was(tmp_path):
    shards(write_tars(tmp_path / "s", 1, 2), "--out", tmp_path / "o")
    index = index_of(tmp_path / "o")
    del index["skipped_at_end"]
    (tmp_path / "o" / "shards.json").write_text(json.dumps(index))
    assert len(captions(tmp_path / "o")) == 2


def test_too_many_unusable_entries_end_it_and_name_the_last_one(tmp_path, capsys):
    files = {**pair_files(range(5)), **{f"mute-{number}.png": picture(0) for number in range(12)}}
    assert shards(write_files(tmp_path / "f", files), "--out", tmp_path / "o", "--shuffle", 0) == 1
    told = capsys.readouterr().err
    assert (
        "mute-10.png: it has no text file beside it. It is one of 11 unusable" not in told
    )  # sorted by name
    assert "one of 11 unusable of the 16 entries so far; --max-skipped allows 0.01 of them, and 10" in told
    assert shards(tmp_path / "f", "--out", tmp_path / "o", "--shuffle", 0, "--max-skipped", 0.9) == 0


def test_sources_without_one_usable_pair_are_an_error(tmp_path, capsys):
    write_files(tmp_path / "f", {"a.png": b"?", "a.txt": b"x"})
    assert shards(tmp_path / "f", "--out", tmp_path / "o") == 1
    told = capsys.readouterr().err
    assert "the sources have no usable pair, and 1 unusable entries; 1: not an image in one of" in told


def test_large_images_are_made_smaller_and_small_ones_left_alone(tmp_path):
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


def test_excluded_pairs_are_left_out(tmp_path):
    pattern = write_tars(tmp_path / "s", 1, 4)
    (tmp_path / "near.tsv").write_text("name\ns/s-0.tar:00002\n")
    shards(pattern, "--out", tmp_path / "o", "--exclude", tmp_path / "near.tsv", "--shuffle", 0)
    assert captions(tmp_path / "o") == ["thing 0", "thing 1", "thing 3"]


def test_a_list_of_which_no_name_is_of_the_sources_is_refused(tmp_path, capsys):
    pattern = write_tars(tmp_path / "s", 1, 4)
    (tmp_path / "near.tsv").write_text("name\ns-0.tar:00002\nelsewhere/s-0.tar:00001\n")
    assert shards(pattern, "--out", tmp_path / "o", "--exclude", tmp_path / "near.tsv") == 1
    told = capsys.readouterr().err
    assert (
        "none of the 2 names of pairs to exclude belongs to these sources: one is 'elsewhere/s-0.tar:00001'"
        in told
    )
    assert "the sources' names begin with 's/s-0.tar:'" in told
    assert not (tmp_path / "o").exists()


def test_pairs_of_the_same_name_in_another_folder_stay(tmp_path):
    for folder in ("a", "b"):
        write_tars(tmp_path / folder, 1, 3)
    (tmp_path / "near.tsv").write_text("name\nb/s-0.tar:00001\n")
    sources = [tmp_path / folder / "s-0.tar" for folder in ("a", "b")]
    shards(*sources, "--out", tmp_path / "o", "--exclude", tmp_path / "near.tsv", "--shuffle", 0)
    assert captions(tmp_path / "o") == [*things(3), "thing 0", "thing 2"]


def test_writing_again_is_done_at_once_and_other_options_are_refused(tmp_path, capsys):
    pattern = write_tars(tmp_path / "s", 2, 4)
    shards(pattern, "--out", tmp_path / "o")
    before = contents(tmp_path / "o")
    assert shards(pattern, "--out", tmp_path / "o", "--jobs", 1) == 0
    assert contents(tmp_path / "o") == before
    assert shards(pattern, "--out", tmp_path / "o", "--seed", 3) == 1
    assert (
        "holds shards made with other options (seed was 0, is 3): choose another" in capsys.readouterr().err
    )


def test_a_folder_that_another_run_writes_to_is_refused(tmp_path, capsys):
    pattern = write_tars(tmp_path / "s", 1, 2)
    with exclusive_lock(tmp_path / "o" / ".lock", DataError("not free")):
        assert shards(pattern, "--out", tmp_path / "o") == 1
    assert "another run is writing shards" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from diptych_training.cli import main
from diptych_training.data.pairs.tools import write_shards
original = write_shards._add_pair
def add(archive, number, pair):
    if number == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    original(archive, number, pair)
write_shards._add_pair = add
main(sys.argv[2:])
"""


@pytest.mark.long
def test_a_killed_run_goes_on_to_the_very_shards_of_an_unbroken_one(tmp_path, capsys):
    source = write_image_table(tmp_path / "t", 23)
    (tmp_path / "t" / "images" / "9.png").unlink()
    arguments = ["data", "shards", str(source), "--pairs-per-shard", "4", "--shuffle", "7", "--out"]
    main([*arguments, str(tmp_path / "unbroken")])
    killed = [sys.executable, "-c", KILLED, "11", *arguments, str(tmp_path / "broken")]
    done = subprocess.run(killed, check=False, capture_output=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert [shard["n_pairs"] for shard in index_of(tmp_path / "broken")["shards"]] == [4, 4]
    with pytest.raises(DataError, match="of a run that was stopped"):
        SourceReader().shards([str(tmp_path / "broken")])
    assert main([*arguments, str(tmp_path / "broken")]) == 0
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
    assert sorted(captions(tmp_path / "broken")) == sorted(set(things(23)) - {"thing 9"})
