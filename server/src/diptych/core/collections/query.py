"""Make one query embedding of several; knows nothing of where they come from or what is searched."""

from collections.abc import Sequence

import numpy as np

from diptych.core.classification.scoring import normalised
from diptych.core.types import Embedding
from diptych.errors import InvalidValue

MIN_SUM_NORM = 1e-6  # below it the direction of the sum is rounding error


def mix(queries: Sequence[Embedding], weights: Sequence[float]) -> Embedding:
    """The weighted sum of unit queries (D,), scaled to unit norm; negative weights lead away from a query.

    Raises InvalidValue when a weight is not finite, when all are 0, or when the queries cancel out.
    """
    for index, weight in enumerate(weights):
        if not np.isfinite(weight):
            raise InvalidValue(f"weight {weight} is not a finite number", f"query[{index}]")
    largest = max(map(abs, weights))  # dividing by it keeps huge weights finite in float32
    if largest == 0:
        raise InvalidValue(
            "weight is 0, which looks for nothing" if len(weights) == 1 else "all weights are 0", "query"
        )
    shares = np.array([weight / largest for weight in weights], dtype=np.float32)  # (Q,)
    total: Embedding = shares @ np.stack(queries)  # (Q,) @ (Q, D) -> (D,)
    if np.linalg.norm(total) < MIN_SUM_NORM:
        raise InvalidValue("the weighted queries cancel each other out", "query")
    return normalised(total)
