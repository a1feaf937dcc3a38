import pytest

from benchmarks.serving.load import read_bodies, write_bodies
from benchmarks.serving.marks import between_marks
from benchmarks.serving.texts import captions, histogram, labels


def test_captions_are_distinct_and_short_enough() -> None:
    texts = captions(len, 40, n_texts=100)
    assert len(set(texts)) == 100
    assert max(map(len, texts)) <= 40


def test_labels_of_two_seeds_share_none() -> None:
    assert len({*labels(200, 1), *labels(200, 2)}) == 400


def test_histogram_has_a_line_for_each_range() -> None:
    lines = histogram([2, 3, 7], width=2).splitlines()
    assert [line.split()[:2] for line in lines] == [["2-3", "2"], ["4-5", "0"], ["6-7", "1"]]


def test_bodies_come_back_as_they_were(tmp_path) -> None:
    bodies = [b"", b"one", bytes(70_000)]
    write_bodies(tmp_path / "bodies.bin", bodies)
    assert read_bodies(tmp_path / "bodies.bin") == bodies


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    begin, end = "<!-- soak:begin -->", "<!-- soak:end -->"
    old = f"head\n{begin}\nold\n{end}\nfoot\n"
    assert between_marks(old, "new\n", "README.md", "soak") == f"head\n{begin}\nnew\n{end}\nfoot\n"
    with pytest.raises(SystemExit, match="bench:begin"):
        between_marks("nothing here", "new", "README.md")
