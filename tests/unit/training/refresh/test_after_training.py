"""The rough time of a refresh after its training."""

from dataclasses import replace

from diptych_training.refresh.after_training import after_training, seconds_after_training
from diptych_training.train.estimate import Estimate

COST = Estimate(
    1, 1, n_small=0, n_full=120, small_s=0, full_s=0.6, batch_size=64, peak_bytes=0, flops_per_image=0
)


def test_it_grows_with_the_time_of_a_picture_the_pictures_and_the_precisions():
    one = seconds_after_training(COST, 1_000, 1)
    assert seconds_after_training(replace(COST, full_s=1.2), 1_000, 1) == 2 * one
    assert seconds_after_training(COST, 2_000, 1) == 2 * one
    assert one < seconds_after_training(COST, 1_000, 2) < 2 * one


def test_it_does_not_depend_on_the_number_of_steps():
    assert seconds_after_training(replace(COST, n_full=9_000), 1_000, 1) == seconds_after_training(
        COST, 1_000, 1
    )


def test_it_is_said_in_whole_minutes():
    assert after_training(COST, 10, 1) == "; then roughly 1 min to judge and to export"
    assert after_training(replace(COST, full_s=60.0), 10_000, 1).endswith(" min to judge and to export")
