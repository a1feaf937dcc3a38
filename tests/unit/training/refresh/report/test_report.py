"""What a report says: rows of its table, headline and advice, from measured figures."""

from dataclasses import replace

from diptych_training.refresh.evaluation.evaluate import choose_alpha
from diptych_training.refresh.report.cards import Thumbnails
from diptych_training.refresh.report.content import Content, advice, table_rows
from diptych_training.refresh.report.report import (
    gains_table,
    other_weights,
    refresh_report,
    weights_table,
)
from support.reports import evaluation, small_report


def test_the_table_has_your_pairs_and_each_part_of_the_shipped_set():
    measured = evaluation({0: 20, 0.5: 90}, {0: 80, 0.5: 79})

    rows = table_rows(measured, choose_alpha(measured))

    assert [row.title for row in rows] == [
        "your pairs, held out", "the same among all labels", "shipped set", "of it: drawings",
        "of it: photographs",
    ]  # fmt: skip
    assert [row.verdict for row in rows[:2]] == ["better"] * 2
    assert (rows[0].difference.new, rows[4].difference.n_captions) == (0.9, 9)


def test_what_a_person_reads_first_is_gained_lost_how_sure_and_what_to_do(tmp_path):
    content = small_report(tmp_path)

    assert content.headline == [
        "Gained: your pictures: top-1 20.0 before, 60.0 now (+40.0) among your labels; 20.0 before, 60.0 now "
        "(+40.0) among yours and the shipped ones.",
        "Lost: shipped drawings 80.0 before, 78.0 now (−2.0); photographs 100.0 before, 100.0 now (0.0).",
        "How sure the gain is: +29.7 to +49.5 points (95% interval, 100 pictures of 100 captions): better; "
        "top-1 now is between 50.2 and 69.6.",
        "How sure the loss is: drawings lose at most 2.9 points (95% interval, 1,000 pictures of 1,000 "
        "captions); photographs lose 0.0 as measured, which counts since 198 crops of 9 photographs are too "
        "few to count the worse end (132 are needed), and perhaps 23.8. Within the bound of 3.",
        "What to do: Look at the searches and pictures that lost: where one matters to you, add pairs that "
        "show it.",
    ]
    assert markdown(content).index(content.headline[0]) < markdown(content).index("| top-1")


def test_advice_follows_from_what_was_measured():
    lossy = evaluation({0: None, 0.5: None}, {0: 80, 0.5: 60})
    useless = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 60})
    unclear = evaluation({0: 20, 0.5: 22}, {0: 80, 0.5: 80})
    few = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 80}, own_captions=[n // 20 for n in range(100)])
    good = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 80})

    assert found_in(lossy) == ["may lose 22", "pictures that lost"]
    assert found_in(useless) == ["keep that", "pictures that lost"]
    assert found_in(unclear) == ["No clear gain", "pictures that lost"]
    assert found_in(few) == ["gained 40.0 points, but 5 captions are too few", "pictures that lost"]
    assert found_in(good) == ["pictures that lost"]


def test_figures_of_folds_say_that_the_published_model_has_learned_from_the_pictures(tmp_path):
    content = small_report(tmp_path)
    in_folds = replace(content, choice=replace(content.choice, in_folds=True))

    assert (
        "top-1 now is between 50.2 and 69.6. Measured on pictures that the judging models had not"
        in (in_folds.headline[2])
    )
    page = refresh_report(in_folds, Thumbnails(content.own, content.shipped)).page()
    assert "among your pictures, from which it has learned, and the shipped ones" in page
    assert "judged by the steps and weight that the other four fifths choose (weight " in page
    assert "and in the first two folds by their rate, which the other folds keep" in page
    assert (
        "from which it has learned"
        not in refresh_report(content, Thumbnails(content.own, content.shipped)).page()
    )


def found_in(measured) -> list[str]:
    """The known phrases of the advice, each in its own step."""
    phrases = (
        *("may lose 22", "keep that", "No clear gain", "gained 40.0 points, but 5 captions are too few"),
        "pictures that lost",
    )
    steps = advice(measured, choose_alpha(measured))
    return [phrase for step in steps for phrase in phrases if phrase in step]


def markdown(content: Content) -> str:
    return refresh_report(content, Thumbnails(content.own, content.shipped)).markdown()


def test_the_table_has_old_new_change_interval_and_verdict():
    # 40 of 100 gained, none lost; one more is half gained, half lost: 40/101 +- 1.984 sqrt(101/100 * (40 *
    # 0.604^2 + 60 * 0.396^2 + (0.604^2 + 1.396^2) / 2)) / 101 = 0.396 +- 0.099
    measured = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 78})
    lines = gains_table(measured, choose_alpha(measured)).markdown().splitlines()

    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "your pairs, held out", "100", "100", "20.0", "60.0", "+40.0", "+29.7 to +49.5", "better",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1


def test_each_weight_says_what_the_shipped_set_may_lose_and_whether_the_bound_allows_it():
    measured = evaluation({0: 20, 0.5: 60, 1: 90}, {0: 90, 0.5: 90, 1: 50})
    choice = choose_alpha(measured)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in weights_table(measured, choice).markdown().splitlines()
        if line.startswith("|")
    ]

    assert rows[0][-3:] == ["drawings may lose", "photographs may lose", "within 3"]
    assert [(row[0], row[-1]) for row in rows[2:]] == [("0", "yes"), ("0.5", "yes"), ("1", "no")]
    assert rows[2][-3:-1] == ["–", "–"]
    assert rows[4][-2] == "0.0"  # no photograph was lost, by drawings alone the weight is out
    assert float(rows[4][-3]) > 40
    assert f"(drawings may lose {rows[4][-3]})" in other_weights(measured, choice)


def test_pictures_that_turned_right_or_wrong_are_named_and_the_rest_of_many_counted(tmp_path):
    gained = [f"cat-{n}.png" for n in range(43)]

    text = markdown(replace(small_report(tmp_path), gained=gained, lost=["a_b_.png\x1b"]))

    assert "43 gained: right now, wrong before: cat-0.png, cat-1.png" in text
    assert "cat-39.png and 3 more." in text
    assert "1 lost: wrong now, right before: a\\_b\\_.png" in text
    assert "\x1b" not in text


def test_captions_cannot_break_markdown_or_a_terminal(tmp_path):
    evil = "a | b\n\n# c `d` <img src=x> \x1b[31m\u202e"
    text = markdown(small_report(tmp_path, caption=evil))

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n# c" not in text
    assert "a \\| b \\# c \\`d\\` \\<img src=x\\>" in text
    assert text.count("```") == 2
