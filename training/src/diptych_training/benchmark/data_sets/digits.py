"""The handwritten digits that scikit-learn brings: 1,797 pictures of 8 x 8 pixels."""

import numpy as np

from diptych_training.benchmark.data_sets.data_set import DataSet, Split
from diptych_training.benchmark.data_sets.known import require_known
from diptych_training.benchmark.data_sets.pictures import PixelPictures
from diptych_training.data.packed import hash_fraction
from diptych_training.errors import DataError

NAME = "digits"
N_GREYS = 16
SIDE_PX = 64  # enlarged without smoothing: a model's own resize would blur the 8 x 8 pixels


def digits() -> DataSet:
    """Black on white; half for training, a tenth for validation. DataError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  an extra
    except ImportError:
        raise DataError(f"{NAME} are in scikit-learn, which comes with the extra `import`") from None
    bunch = load_digits()
    scale = SIDE_PX // bunch.images.shape[1]
    greys = 255 - np.rint(bunch.images * 255 / N_GREYS).astype(np.uint8)  # (N, 8, 8)
    large = greys.repeat(scale, axis=1).repeat(scale, axis=2)
    images = np.repeat(large[..., None], 3, axis=3)
    fractions = np.array([hash_fraction(f"{NAME} {number}") for number in range(len(images))])
    facts = require_known(NAME)

    def split(chosen: np.ndarray) -> Split:
        return Split(PixelPictures(images[chosen]), tuple((int(label),) for label in bunch.target[chosen]))

    return DataSet(
        name=NAME,
        group=NAME,
        task="classification",
        metric=facts.metric,
        texts=facts.classes,
        templates=facts.templates,
        test=split(fractions >= 0.6),
        train=split(fractions < 0.5),
        validation=split((fractions >= 0.5) & (fractions < 0.6)),
        source="scikit-learn's load_digits",
    )
