"""Check vectors that callers bring: the model that made them, their length and their norm."""

import numpy as np
from numpy.typing import NDArray

from diptych.core.types import ModelInfo, VectorOrigin
from diptych.errors import Conflict, InvalidValue

MAX_NORM_ERROR = 1e-3  # float16 vectors, common in files, are off by half of it


def check_origin(origin: VectorOrigin, model: ModelInfo, does: str = "keeps those of") -> None:
    """Raise Conflict unless the vectors were made by the model, as far as they say.

    `does` is what the server does with the model, for the message.
    """
    identity = None if origin.identity is None else model.identity
    served = VectorOrigin(model.name, model.version, model.precision, model.decode, identity)
    same = (
        (origin.name, origin.version) == (served.name, served.version)
        and origin.precision in {None, served.precision}
        and origin.decode in {None, served.decode}
        and origin.identity == served.identity
    )
    if not same:
        raise Conflict(
            f"the vectors are of {_named(origin)}, and this server {does} {_named(served)}: "
            "vectors of two versions are never mixed"
        )


def check_vector(vector: NDArray[np.float32], embed_dim: int) -> None:
    """Raise InvalidValue unless the vector has `embed_dim` finite numbers and unit norm."""
    if vector.shape != (embed_dim,):
        raise InvalidValue(f"has {vector.size} numbers, vectors of this model have {embed_dim}")
    numbers = vector.astype(np.float64)  # squares of float32 numbers overflow float32
    norm = float(np.sqrt(numbers @ numbers))
    if not np.isfinite(norm):
        raise InvalidValue("has numbers that are not finite in float32")
    if abs(norm - 1) > MAX_NORM_ERROR:
        raise InvalidValue(f"has norm {norm:.6g}, it must be 1 within {MAX_NORM_ERROR:g}")


def _named(origin: VectorOrigin) -> str:
    decode = origin.decode and f"{origin.decode} decoding"
    identity = origin.identity and f"identity {origin.identity[:12]}"  # tells equal names apart
    more = [word for word in (origin.precision, decode, identity) if word]
    version = f"{origin.name[:80]}/{origin.version}"
    return f"{version} ({', '.join(more)})" if more else version
