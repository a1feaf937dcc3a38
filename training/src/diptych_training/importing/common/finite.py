"""Hold the numbers of a checkpoint to being numbers; knows no architecture."""

from collections.abc import Mapping

from torch import Tensor

from diptych_training.errors import ImportFailed


def require_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ImportFailed naming the first tensor that holds a NaN or an infinity, and how many."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            n_bad = int((~tensor.isfinite()).sum())
            raise ImportFailed(
                f"{where}: {name} has {n_bad:,} of {tensor.numel():,} numbers that are not finite: "
                "the weights are damaged"
            )
