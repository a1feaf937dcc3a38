"""What a report says: rows of its table, headline and advice, from measured figures."""

from diptych_training.refresh.evaluation.evaluate import choose_alpha
from diptych_training.refresh.report.content import advice, headline, table_rows
from support.reports import evaluation


def test_rows_are_own_pairs_the_shipped_set_and_its_kinds():
    rows = table_rows(evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 78}), 0.5)

    assert [(row.title, row.verdict) for row in rows] == [
        ("your pairs, held out", "better"),
        ("shipped set", "no clear change"),
        ("of it: emoji styles", "no clear change"),
        ("of it: icon sets", "no clear change"),
    ]
    assert [row.is_part for row in rows] == [False, False, True, True]
    assert (rows[0].difference.old, rows[0].difference.new, rows[0].n_labels) == (0.2, 0.6, 10)


def test_few_pairs_are_too_few_to_judge_however_clear_their_figures_are():
    measured = evaluation({0: 20, 0.5: 90}, {0: 80, 0.5: 79}, n_own_pairs=100)

    rows = table_rows(measured, 0.5)

    assert (rows[0].verdict, rows[1].verdict) == ("too few to judge", "no clear change")
    assert rows[0].difference.new == 0.9


def test_without_held_out_pairs_only_the_shipped_set_has_rows():
    measured = evaluation({0: None, 0.5: None}, {0: 80, 0.5: 60}, n_own_pairs=20)

    assert table_rows(measured, 0.5)[0].title == "shipped set"
    assert "None of your pairs was held out" in headline(measured, choose_alpha(measured))[0]


def test_the_headline_has_both_sets_and_the_bound():
    measured = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 78})

    first, second = headline(measured, choose_alpha(measured))

    assert first == "Your pictures: top-1 20.0 before, 60.0 now (+40.0 points; better)."
    assert second == (
        "Shipped set: 80.0 before, 78.0 now (−2.0 points; no clear change), within the bound of a loss of 3."
    )


def test_advice_follows_from_what_was_measured():
    few = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 60}, n_own_pairs=150)
    useless = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 60})
    unclear = evaluation({0: 20, 0.5: 22}, {0: 80, 0.5: 80})
    good = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 80})

    assert found_in(few) == ["loses 20.0 points", "With 50 more", "pictures that lost"]
    assert found_in(useless) == ["keep that", "pictures that lost"]
    assert found_in(unclear) == ["No clear gain", "pictures that lost"]
    assert found_in(good) == ["pictures that lost"]


def found_in(measured) -> list[str]:
    """The known phrases of the advice, each in its own step."""
    phrases = ("loses 20.0 points", "With 50 more", "keep that", "No clear gain", "pictures that lost")
    steps = advice(measured, choose_alpha(measured))
    return [phrase for step in steps for phrase in phrases if phrase in step]
