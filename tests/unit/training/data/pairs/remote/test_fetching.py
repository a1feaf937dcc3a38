"""What is fetched of sources: each image once, and none where texts are enough."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.config import read_config
from diptych_training.data.pairs.pair import Pair, WithoutImages
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.data.pairs.stream.order import Cursor, Order, Stream
from diptych_training.train.batches.training_data import StreamedTraining
from support.pair_files import pair_files, picture, write_files, write_image_table, write_tars
from support.pair_reading import captions, count_opens, things, write_parquet
from support.small_recipe import small_recipe, write_small_recipe
from support.tiny_run import write_tiny_dataset


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_each_image_is_fetched_once_an_epoch_however_many_streams_share_a_source(tmp_path, monkeypatch, kind):
    n = 30
    write_image_table(tmp_path / "t", n)
    paths = [f"images/{number}.png" for number in range(n)]
    write_parquet(tmp_path / "t" / "pairs.parquet", {"path": paths, "caption": things(n)}, group=n)
    write_files(
        tmp_path / "t" / "images", {f"{number}.txt": text.encode() for number, text in enumerate(things(n))}
    )
    source = tmp_path / "t" / ("images" if kind == "folder" else f"pairs.{kind}")
    shards = SourceReader().shards([str(source)])
    assert len(shards) == 1
    opened = count_opens(monkeypatch)
    streams = [Stream(shards, number, Order(seed=1, n_streams=8, block_size=4)) for number in range(8)]
    found = [entry for stream in streams for entry, _ in stream.entries(Cursor(), n_epochs=1)]
    assert sorted(captions(found)) == sorted(things(n))
    assert {name: n for name, n in opened.items() if name.endswith(".png")} == {
        f"{k}.png": 1 for k in range(n)
    }


@pytest.mark.parametrize("kind", ["csv", "paths", "images", "folder", "tar", "packed"])
def test_entries_without_images_are_the_same_ones_and_fetch_none(tmp_path, monkeypatch, kind):
    n = 30
    match kind:
        case "csv":
            source = write_image_table(tmp_path / "t", n)
        case "paths":
            write_image_table(tmp_path, n)
            paths = [f"images/{number}.png" for number in range(n)]
            source = write_parquet(tmp_path / "p.parquet", {"path": paths, "caption": things(n)}, n)
        case "images":
            images = [picture(number) for number in range(n)]
            source = write_parquet(tmp_path / "p.parquet", {"image": images, "caption": things(n)}, n)
        case "folder":
            source = write_files(tmp_path / "f", pair_files(range(n)))
        case "tar":
            source = Path(write_tars(tmp_path / "s", 1, n))
        case _:
            write_tiny_dataset(tmp_path / "d", n_icons=3)
            source = tmp_path / "d"
    (shard,) = SourceReader().shards([str(source)])
    whole = list(shard.entries())
    assert all(isinstance(entry, Pair) and entry.image for entry in whole)
    opened = count_opens(monkeypatch)
    for start, step in ((0, 1), (7, 1), (2, 4)):
        expected = [replace(entry, image=b"") for entry in whole[start::step]]
        assert list(shard.entries(start, step, with_images=False)) == expected
        assert list(WithoutImages(shard).entries(start, step)) == expected
    assert not [name for name in opened if name.endswith(".png")]


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_what_is_excluded_is_not_fetched_by_streams_and_commands(tmp_path, monkeypatch, kind):
    n = 6
    write_image_table(tmp_path / "t", n)
    paths = [f"images/{number}.png" for number in range(n)]
    write_parquet(tmp_path / "t" / "pairs.parquet", {"path": paths, "caption": things(n)}, group=n)
    write_files(
        tmp_path / "t" / "images", {f"{number}.txt": text.encode() for number, text in enumerate(things(n))}
    )
    source = tmp_path / "t" / ("images" if kind == "folder" else f"pairs.{kind}")
    shards = SourceReader().shards([str(source)])
    names = [entry.name for shard in shards for entry in shard.entries()]
    opened = count_opens(monkeypatch)
    stream = Stream(shards, 0, Order(seed=1, n_streams=1, block_size=4))
    found = [entry.name for entry, _ in stream.entries(Cursor(), 1, {names[1], names[4]})]
    assert sorted(found) == [name for name in names if name not in (names[1], names[4])]
    near, listed = tmp_path / "near.tsv", tmp_path / "out.tsv"
    near.write_text(f"name\n{names[1]}\n{names[4]}\n")
    out = ["--exclude", str(near)]
    assert main(["data", "shards", str(source), "--out", str(tmp_path / "s"), *out]) == 0
    pack = ["data", "pack", "--train", str(source), "--out", str(tmp_path / "p"), "--size", "16"]
    assert main([*pack, *out]) == 0
    against = ["--against", str(tmp_path / "s"), "--out", str(listed)]
    assert main(["data", "near-duplicates", str(source), *against, *out]) == 0
    assert not {"1.png", "4.png"} & set(opened)
    assert opened["0.png"] == 4


def test_a_tokenizer_does_not_learn_from_excluded_pairs(tmp_path):
    source = write_image_table(tmp_path / "t", 30)
    shards = SourceReader().shards([str(source)])
    excluded = [entry.name for entry in shards[0].entries(with_images=False)][:10]
    (tmp_path / "near.tsv").write_text("\n".join(["name", *excluded]))
    file = write_small_recipe(tmp_path / "small.toml", small_recipe())
    lists = [f"data.pairs.train='{source}'", f"data.pairs.exclude='{tmp_path}/near.tsv'"]
    texts = StreamedTraining(shards, read_config(file, [*lists, "data.pairs.streams=4"])).texts()
    assert sorted(chain.from_iterable(texts)) == sorted(things(30)[10:])
