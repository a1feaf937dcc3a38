"""The pictures of piping symbols to try a refresh with."""

from collections import Counter

from diptych_training.refresh.example import N_KINDS, SYMBOLS, main


def captions_of(folder):
    return {file.stem: file.read_text().strip() for file in sorted(folder.glob("*.txt"))}


def test_every_picture_has_its_symbols_name_as_caption_and_the_symbols_come_in_turn(tmp_path):
    assert main(["--out", str(tmp_path), "--pictures", "12"]) == 0

    captions = captions_of(tmp_path)
    assert {file.stem for file in tmp_path.glob("*.png")} == captions.keys()
    assert all(name == f"{caption.replace(' ', '-')}-{name[-3:]}" for name, caption in captions.items())
    assert sorted(Counter(captions.values()).values()) == [2, 2, 2, 3, 3]
    assert set(captions.values()) == set([*SYMBOLS][:N_KINDS])


def test_more_kinds_of_symbols_are_drawn_where_they_are_asked_for(tmp_path):
    assert main(["--out", str(tmp_path), "--pictures", "16", "--kinds", "8"]) == 0

    assert Counter(captions_of(tmp_path).values()) == dict.fromkeys(SYMBOLS, 2)
