"""How texts are cut into tokens, and what these leave out."""

import pytest

from diptych.core.collections.metadata.tokens import tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Black  CATS!", "black cats"),
        ("Äpfel, Straße, ÉCOLE, Malmö", "apfel strasse ecole malmo"),
        ("e\u0301cole \ufb01ne \uff23\uff21\uff34 \uff11\uff12", "ecole fine cat 12"),
        ("İstanbul ΆΘΗΝΑ Ёлка", "istanbul αθηνα елка"),
        (
            "Øresund Łódź Đà Nẵng Ærø œuvre ŒUVRE Diyarbakır Ǿ",
            "oresund lodz da nang aero oeuvre oeuvre diyarbakir o",
        ),
        ("co\u00adop \ufeffword a\u200db", "coop word ab"),
        ("IMG_1234.jpg DSC01234 2024-05-01", "img 1234 jpg dsc01234 2024 05 01"),
        ("猫が東京にいる。", "猫 が 東 京 に い る"),
        ("ｶﾞｷﾞ か\u3099 タワー 々", "ガ ギ が タ ワ ー 々"),
        ("猫cat猫", "猫 cat 猫"),
        ("한국어 고양이", "한 국 어 고 양 이"),
        ("\u1112\u1161\u11ab", "한"),
        ("แมว", "แ ม ว"),
        ("น้ำ", "น้\u0e4d า"),
        ("الْقِطَّة أحمد قـــط", "القطة احمد قط"),
        ("חָתוּל", "חתול"),
        ("हिन्दी", "हिन्दी"),
        ("葛\U000e0100 猫\ufe0f क्\u200dष", "葛 猫 क्ष"),
        ("🐱 ☃ ©", ""),
        ("cat🐱dog", "cat dog"),
        ("black\u200bcat", "black cat"),
        ("\ud800a\0b", "a b"),
    ],
)
def test_text_is_cut_into_folded_tokens(text: str, expected: str) -> None:
    assert " ".join(tokens(text)) == expected.strip()
