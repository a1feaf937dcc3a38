import io
import json
from pathlib import Path

import pytest
from PIL import Image

from diptych_training.data.pictograms.emoji import EmojiFiles, emoji_drawings
from diptych_training.data.pictograms.emoji_names import EmojiName, read_emoji_names
from diptych_training.data.pictograms.render import render


def emoji(label: str, hexcode: str, group: int = 1, **more: object) -> dict[str, object]:
    return {"label": label, "hexcode": hexcode, "group": group, "subgroup": 16, **more}


@pytest.fixture
def names(tmp_path: Path) -> dict[str, EmojiName]:
    tones = [("light", "1F44B-1F3FB"), ("dark", "1F44B-1F3FF")]
    skins = [emoji(f"waving hand: {tone} skin tone", hexcode) for tone, hexcode in tones]
    data = [
        {"label": "regional indicator A", "hexcode": "1F1E6"},
        emoji("light skin tone", "1F3FB", 2),
        emoji("waving hand", "1F44B", tags=["bye", "waving hand"], skins=skins),
        emoji("flag: Chile", "1F1E8-1F1F1"),
        emoji("gear", "2699-FE0F"),
    ]
    groups = {"groups": {"1": "people"}, "subgroups": {"16": "hands-open"}}
    spoken = (
        [{"key": "people", "message": "people & body"}],
        [{"key": "hands-open", "message": "fingers open"}],
    )
    files = {
        "en/data.json": data,
        "en/messages.json": {"groups": spoken[0], "subgroups": spoken[1]},
        "meta/groups.json": groups,
        "en/shortcodes/github.json": {"1F44B": "wave", "2699-FE0F": ["gear", "u2699"]},
        "en/shortcodes/joypixels.json": {"1F44B": ["wave", "waving_hand_sign"]},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    return read_emoji_names(tmp_path)


def write_files(folder: Path, *code_points: str) -> None:
    folder.mkdir(parents=True)
    for name in code_points:
        (folder / f"{name}.svg").write_text(name)


def test_emoji_have_label_keywords_group_and_spoken_shortcodes(names: dict[str, EmojiName]) -> None:
    assert list(names) == ["1F44B", "1F44B-1F3FB", "1F44B-1F3FF", "1F1E8-1F1F1", "2699"]
    wave = names["1F44B"]
    assert (wave.label, wave.keywords) == ("waving hand", ("bye",))
    assert wave.captions == ("people & body: fingers open", "wave", "waving hand sign")
    assert names["2699"].captions == ("people & body: fingers open",)


def test_flags_are_also_called_by_their_country_alone(names: dict[str, EmojiName]) -> None:
    assert names["1F1E8-1F1F1"].captions[1:] == ("flag of Chile", "Chile flag", "Chile")


def test_tones_of_an_emoji_share_half_its_weight(tmp_path: Path, names: dict[str, EmojiName]) -> None:
    write_files(tmp_path / "svg", "1f44b", "1f44b-1f3fb", "1f44b-1f3ff", "2699-fe0f", "unknown")
    items = [drawing.item for drawing in emoji_drawings(tmp_path, EmojiFiles("svg", ".svg"), names)]
    assert [(item.id, item.weight) for item in items] == [
        ("1f44b", 1.0),
        ("1f44b-1f3fb", 0.25),
        ("1f44b-1f3ff", 0.25),
        ("2699", 1.0),
    ]


def svg(body: str, view_box: str = "0 0 8 8") -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view_box}">{body}</svg>'.encode()


def test_transparent_png_is_laid_on_white_whatever_its_hidden_colour() -> None:
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 8, 16))
    file = io.BytesIO()
    image.save(file, "PNG")
    pixels = render(file.getvalue(), 16)
    assert tuple(pixels[0, 0]) == (0, 0, 255)
    assert tuple(pixels[0, 15]) == (255, 255, 255)
