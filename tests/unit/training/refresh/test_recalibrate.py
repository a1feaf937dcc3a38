"""The line that says on which pairs the relevance of search hits was fitted, and how well."""

import pytest

from diptych.bundle.calibration import RelevanceMap
from diptych_training.refresh.recalibrate import relevance_text


@pytest.mark.parametrize(
    ("n_own", "said"),
    [
        (40, "on the shipped pairs and 40 held-out ones of yours. Its"),
        (0, "on the shipped pairs, not on yours: the model has learned from all of them"),
    ],
)
def test_the_line_names_the_pairs_of_the_user_only_where_some_were_held_out(n_own, said):
    fitted = RelevanceMap(floor=3.0, width=1.75, slope=1.0, growth=0.4, error=0.05, n_queries=60)

    line = relevance_text({"text": fitted}, {"text": 0.08}, "everyday/2", n_own)

    assert said in line
    assert line.endswith("with the maps of everyday/2, and now: by words 0.080 and 0.050 (60 queries).")
