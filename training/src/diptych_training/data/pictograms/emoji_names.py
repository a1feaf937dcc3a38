"""Names of emoji by code points: CLDR label, keywords, group and shortcodes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diptych_training.data.pictograms.npm import read_json

COMPONENT_GROUP = 2  # skin tones and hair parts, which are not emoji by themselves
FLAG = "flag: "
SHORTCODE_FILES = ("github", "joypixels")


@dataclass(frozen=True)
class EmojiName:
    """Texts of one emoji. `base` is the key of the emoji without skin tone: usually its own."""

    label: str
    keywords: tuple[str, ...]
    captions: tuple[str, ...]
    base: str

    @property
    def is_flag(self) -> bool:
        """True for flags of countries and regions, which are labelled "flag: X"."""
        return self.label.startswith(FLAG)


def code_points_key(code_points: str) -> str:
    """The key of a file name such as `1f1e8-1f1f1`: upper case, no variation selectors, `-` between."""
    points = code_points.upper().replace("_", "-").split("-")
    return "-".join(point for point in points if point != "FE0F")


def read_emoji_names(names_package: Path) -> dict[str, EmojiName]:
    """Key -> name of every emoji, skin-tone variants too, in the order of the Unicode charts."""
    english = names_package / "en"
    shortcodes = [_shortcodes(english / "shortcodes" / f"{name}.json") for name in SHORTCODE_FILES]
    groups, subgroups = _group_names(english / "messages.json", names_package / "meta" / "groups.json")
    names: dict[str, EmojiName] = {}
    for emoji in read_json(english / "data.json"):
        if emoji.get("group", COMPONENT_GROUP) == COMPONENT_GROUP:
            continue
        base = code_points_key(emoji["hexcode"])
        group = f"{groups[emoji['group']]}: {subgroups[emoji['subgroup']]}"
        captions = [group, *_shortcode_words(emoji["hexcode"], shortcodes), *_flag_names(emoji["label"])]
        for variant in (emoji, *emoji.get("skins", [])):
            tone = _tone(variant["label"])
            keywords = tuple(tag for tag in emoji.get("tags", []) if tag != emoji["label"])
            spoken = dict.fromkeys(f"{caption}{tone}" for caption in captions)
            spoken.pop(variant["label"], None)
            names[code_points_key(variant["hexcode"])] = EmojiName(
                variant["label"], keywords, tuple(spoken), base
            )
    return names


def _flag_names(label: str) -> Iterator[str]:
    """What else a flag is called: "flag: Chad" is the "flag of Chad"."""
    country = label.removeprefix(FLAG)
    if country != label:
        yield from (f"flag of {country}", f"{country} flag", country)


def _group_names(messages_file: Path, meta_file: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Names of groups and of subgroups by their number, such as "animals & nature" and "birds"."""
    messages, meta = read_json(messages_file), read_json(meta_file)
    spoken = {row["key"]: row["message"] for kind in ("groups", "subgroups") for row in messages[kind]}
    groups, subgroups = (
        {int(number): spoken[key] for number, key in meta[kind].items()} for kind in ("groups", "subgroups")
    )
    return groups, subgroups


def _shortcodes(file: Path) -> dict[str, list[str]]:
    """Hexcode -> shortcodes; a file gives one string or a list for each."""
    given = read_json(file)
    return {hexcode: [codes] if isinstance(codes, str) else codes for hexcode, codes in given.items()}


def _tone(label: str) -> str:
    """ ": light skin tone" of "woman: light skin tone, beard"; two tones for two people; empty for none."""
    tones = [part for part in re.split("[:,] ", label) if part.endswith("skin tone")]
    return f": {', '.join(tones)}" if tones else ""


def _shortcode_words(hexcode: str, shortcodes: list[dict[str, list[str]]]) -> Iterator[str]:
    """Shortcodes as words: `thumbs_up` is "thumbs up"; codes such as `+1` or `u5408` are left out."""
    for codes_of in shortcodes:
        for code in codes_of.get(hexcode, []):
            words = code.replace("_", " ").replace("-", " ").strip()
            if len(words) > 2 and not any(letter.isdigit() for letter in words):
                yield words
