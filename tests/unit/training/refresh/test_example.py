"""The pictures of piping symbols to try a refresh with."""

from collections import Counter

import pytest
from PIL import Image

from diptych_training.refresh.example import SYMBOLS, main


def captions_of(folder):
    return {file.stem: file.read_text().strip() for file in sorted(folder.glob("*.txt"))}


def test_every_picture_has_its_symbols_name_as_caption_and_the_symbols_come_in_turn(tmp_path):
    assert main(["--out", str(tmp_path), "--pictures", "12"]) == 0

    captions = captions_of(tmp_path)
    assert {file.stem for file in tmp_path.glob("*.png")} == captions.keys()
    assert all(name == f"{caption.replace(' ', '-')}-{name[-3:]}" for name, caption in captions.items())
    assert sorted(Counter(captions.values()).values()) == [2, 2, 2, 3, 3]
    assert set(captions.values()) == set(SYMBOLS)


def test_more_pictures_keep_those_that_fewer_have_and_another_seed_draws_others(tmp_path):
    for folder, n, seed in (("few", 6, 0), ("more", 12, 0), ("other", 6, 1)):
        main(["--out", str(tmp_path / folder), "--pictures", str(n), "--seed", str(seed)])

    few, more, other = (
        {file.name: file.read_bytes() for file in (tmp_path / folder).glob("*.png")}
        for folder in ("few", "more", "other")
    )
    assert few.items() <= more.items()
    assert few.keys() == other.keys()
    assert not set(few.values()) & set(other.values())
    assert len(set(more.values())) == 12


def test_a_symbol_covers_a_part_of_its_picture_and_stays_inside(tmp_path):
    main(["--out", str(tmp_path), "--pictures", "40"])

    for file in tmp_path.glob("*.png"):
        image = Image.open(file).convert("RGB")
        colours = Counter({colour: n for n, colour in image.getcolors(100_000)})
        ((paper, n_paper),) = colours.most_common(1)
        assert 0.3 < n_paper / (image.width * image.height) < 0.98, file
        edge = [image.getpixel((x, y)) for x in range(image.width) for y in (0, image.height - 1)] + [
            image.getpixel((x, y)) for y in range(image.height) for x in (0, image.width - 1)
        ]
        assert edge.count(paper) > 0.9 * len(edge), file


def test_no_picture_at_all_is_an_error_that_names_the_flag(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--pictures", "0"])

    assert "--pictures is 0, must be at least 1" in capsys.readouterr().err
