"""The report as text for a terminal."""

from diptych_training.refresh.pairs.findings import Finding, PairsReport, first_examples, quoted


def test_the_text_has_a_summary_then_each_finding_with_its_advice():
    findings = (
        Finding(kind="no_caption", n=12, what="without a caption", advice="Write it.", examples=("a", "b")),
        Finding(kind="excluded", n=2, what="excluded, as you asked"),
    )
    report = PairsReport(
        inputs="0",
        sources=("photos", "more.csv"),
        image_size=64,
        n_found=1234,
        n_train=1000,
        n_held_out=222,
        n_captions=1,
        findings=findings,
    )

    assert report.text().splitlines() == [
        "photos, more.csv: 1,234 pairs found, 1,222 usable: 1,000 to train on, 222 held out; 1 different",
        "  caption",
        "- 12 without a caption: a, b and 10 more",
        "  Write it.",
        "- 2 excluded, as you asked",
    ]


def test_examples_are_few_and_short():
    assert first_examples("abcdef") == ("a", "b", "c")
    assert quoted("two\nlines") == '"two lines"'
    assert len(quoted("word " * 100)) <= 62


def test_examples_cannot_control_the_terminal():
    assert quoted("a\x1b[31m cat\u202e tac") == '"a\ufffd[31m cat\ufffd tac"'
