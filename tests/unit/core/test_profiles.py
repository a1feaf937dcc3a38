"""The shapes that engines are built for."""

from diptych.core.plan import lengths_up_to
from diptych.core.profiles import Profile, image_profile, text_profile


def test_images_run_alone_to_a_full_batch_which_is_fastest() -> None:
    assert image_profile(224, 64) == Profile((1, 224, 224, 3), (64, 224, 224, 3), (64, 224, 224, 3))


def test_texts_run_at_every_length_that_they_are_filled_up_to() -> None:
    assert text_profile(lengths_up_to(77), 32) == Profile((1, 8), (32, 32), (32, 77))
    assert text_profile((64,), 8) == Profile((1, 64), (8, 64), (8, 64))


def test_lengths_are_few_and_end_with_the_longest_there_may_be() -> None:
    assert lengths_up_to(77) == (8, 16, 32, 64, 77)
    assert lengths_up_to(32) == (8, 16, 32)
    assert lengths_up_to(8) == (8,)
    assert lengths_up_to(5) == (5,)
