"""Roughly how long a refresh takes once it is trained, from the measured time of a training step."""

from diptych_training.train.estimate import Estimate

FORWARD = 1 / 3  # of a training step: its backward pass takes twice as long
N_JUDGED = 7  # times that all pictures are embedded: by five mixes, and twice for what changed
N_PROVEN = 4  # times that each precision, and the original, embeds as many to be exported and proven


def seconds_after_training(cost: Estimate, n_pictures: int, n_precisions: int) -> float:
    """Seconds to judge on `n_pictures`, and to export `n_precisions`, which are proven on about as many."""
    picture_s = FORWARD * cost.full_s / cost.batch_size
    return picture_s * n_pictures * (N_JUDGED + N_PROVEN * (1 + n_precisions))


def after_training(cost: Estimate, n_pictures: int, n_precisions: int) -> str:
    """The end of the line that estimates the training: what else takes time."""
    minutes = seconds_after_training(cost, n_pictures, n_precisions) / 60
    return f"; then roughly {max(1, round(minutes))} min to judge and to export"
