"""The time of a refresh after its training."""

from diptych_training.refresh.train import Remaining

FEW = Remaining(n_mixes=5, n_pictures=600, n_precisions=1)


def test_it_is_in_proportion_to_the_time_of_a_picture() -> None:
    evaluate_mixes, export = FEW.seconds(0.01)
    assert evaluate_mixes == 5 * 600 * 0.01
    assert FEW.seconds(0.02) == (2 * evaluate_mixes, 2 * export)


def test_the_export_takes_longer_with_more_precisions_whatever_is_judged() -> None:
    evaluate_mixes, export = FEW.seconds(0.01)
    assert Remaining(5, 1_200, 1).seconds(0.01) == (2 * evaluate_mixes, export)
    assert export < Remaining(5, 600, 2).seconds(0.01)[1] < 2 * export


def test_it_is_said_in_minutes() -> None:
    assert FEW.text(0.02).startswith("; then about 1.0 min to judge, and roughly ")
    assert FEW.text(0.02).endswith(" min to export with proof")
