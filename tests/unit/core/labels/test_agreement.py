"""How far the model agrees with people."""

import pytest

from diptych.core.labels.agreement import MIN_OF_LABEL, Confusion, Share, accuracy_of, agreement_of


@pytest.mark.parametrize(
    ("n", "n_agree", "expected"),
    [(10, 10, (0.7225, 1.0)), (10, 0, (0.0, 0.2775)), (100, 80, (0.7112, 0.8666))],  # Brown et al. 2001
)
def test_interval_is_that_of_wilson(n: int, n_agree: int, expected: tuple[float, float]) -> None:
    assert Share(n, n_agree).interval == pytest.approx(expected, abs=1e-3)


def test_nothing_reviewed_has_no_interval() -> None:
    assert agreement_of([]).images == Share(0, 0)
    assert Share(0, 0).interval is None


def test_labels_and_confusions_are_counted() -> None:
    judged = [(("a",), ("a",)), (("a",), ("b",)), (("a",), ("b",)), ((), ("b",)), (("b",), ())]
    found = agreement_of(judged)
    assert (found.images, found.n_unlabelled) == (Share(4, 1), 1)
    assert found.labels == {"a": Share(3, 1)}
    assert found.confusions == [Confusion("a", "b", 2), Confusion(None, "b", 1), Confusion("b", None, 1)]


def test_of_many_labels_only_those_that_differ_are_confused() -> None:
    found = agreement_of([(("a", "b"), ("b", "c")), (("a", "b"), ("c", "d")), (("b", "a"), ("a", "b"))])
    assert found.images == Share(3, 1)
    assert found.labels == {"a": Share(3, 1), "b": Share(3, 2)}
    assert set(found.confusions) == {
        Confusion("a", "c", 1),
        *(Confusion(label, None, 1) for label in "ab"),
        *(Confusion(None, label, 1) for label in "cd"),
    }


def test_model_that_gives_no_label_agrees_with_none_and_is_left_out_where_there_is_one() -> None:
    judged = [(("a",), ())] * 2 + [((), ())] * 3 + [((), ("a",))] * 4
    assert (agreement_of(judged).images, agreement_of(judged).n_unlabelled) == (Share(7, 3), 2)
    assert (accuracy_of(judged).images, accuracy_of(judged).n_unlabelled) == (Share(7, 3), 2)


def test_labels_with_few_drawn_pictures_have_no_accuracy() -> None:
    found = accuracy_of([(("a",), ("a",))] * MIN_OF_LABEL + [(("b",), ("a",))] * (MIN_OF_LABEL - 1))
    assert found.images == Share(2 * MIN_OF_LABEL - 1, MIN_OF_LABEL)
    assert found.labels == {"a": Share(MIN_OF_LABEL, MIN_OF_LABEL)}
