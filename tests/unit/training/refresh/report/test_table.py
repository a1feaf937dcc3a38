"""A report as Markdown and as lines of a terminal."""

from diptych_training.refresh.report.cards import Thumbnails
from diptych_training.refresh.report.content import Content
from diptych_training.refresh.report.report import gains_table, other_weights, refresh_report, searches_text
from diptych_training.reports.markdown import markdown_text
from diptych_training.reports.text import html_text, one_line, signed_points
from support.reports import evaluation, small_report


def markdown(content: Content) -> str:
    return refresh_report(content, Thumbnails(content.own, content.shipped)).markdown()


def test_the_table_has_old_new_change_interval_and_verdict():
    # 40 of 100 gained, none lost: 41/102 - 1/102 = 0.392, +- 1.96 sqrt((42/102 - 0.392^2) / 102) = 0.098
    lines = gains_table(evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 78}), 0.5).markdown().splitlines()

    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "your pairs, held out", "100", "10", "20.0", "60.0", "+40.0", "+29.4 to +49.1", "better",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1


def test_other_weights_are_told_on_both_sets():
    result = evaluation({0: 40, 0.5: 60, 0.75: 80, 1: 90}, {0: 80, 0.5: 79, 0.75: 78, 1: 76}, n_own_pairs=100)
    assert other_weights(result, 0.5).endswith(
        "(yours and the shipped set): 0.75: 80.0 and 78.0; 1: 90.0 and 76.0"
    )
    without = evaluation({0: None, 0.5: None, 1: None}, {0: 80, 0.5: 79, 1: 76})
    assert other_weights(without, 0.5).endswith("(the shipped set): 1: 76.0")


def test_markdown_has_every_part(tmp_path):
    text = markdown(small_report(tmp_path))

    for part in (
        "# mine/1: what was gained and lost",
        "Made of pictograms/5, 9 March 2026.",
        "Alpha 0.5, best of 3 measured mixes that lose at most 3 points",
        "## Searches that gained most",
        "- red star 1: first right picture: rank 4 before, 1 after",
        "## Pictures that are wrong now",
        "- emoji 0: red star 0 before (25%) before, red star 0 after (75%) now",
        "\n\nYour pictures: by nobody (MIT).\n",
    ):
        assert part in text


def test_searches_read_well_in_a_terminal(tmp_path):
    text = searches_text(small_report(tmp_path, n=1).changes.searches)

    assert text.splitlines()[0] == "“red star 0” (first right picture: rank 4 before, 1 after)"
    assert text.splitlines()[1].startswith("  before  1 red star 4  2 red star 3")
    assert text.splitlines()[2].startswith("  after   1 red star 0 ✓  2 red star 1")


def test_captions_cannot_break_markdown_or_a_terminal(tmp_path):
    evil = "a | b\n\n# c `d` <img src=x> \x1b[31m\u202e"
    text = markdown(small_report(tmp_path, caption=evil))

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n# c" not in text
    assert "a \\| b \\# c \\`d\\` \\<img src=x\\>" in text
    assert text.count("```") == 2


def test_a_line_is_short_and_keeps_joined_characters():
    assert one_line("  two\n\twords ") == "two words"
    assert one_line("x" * 500) == f"{'x' * 159}…"
    assert one_line("👩‍🚒 می‌خواهم") == "👩‍🚒 می‌خواهم"
    assert one_line("a\x00b") == "a\ufffdb"


def test_markup_is_escaped():
    assert (
        html_text("""<a href="x" title='y'>&amp;""")
        == "&lt;a href=&quot;x&quot; title=&#x27;y&#x27;&gt;&amp;amp;"
    )
    assert markdown_text("2*3_4") == "2\\*3\\_4"


def test_a_change_that_rounds_to_nothing_has_no_sign():
    assert [signed_points(change) for change in (0.04, -0.0004, 0.0, -0.031)] == [
        "+4.0",
        "0.0",
        "0.0",
        "−3.1",
    ]
