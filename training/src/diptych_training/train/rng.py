"""Torch's random state, to draw the same numbers again; knows nothing of what they are for."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RngState:
    """What the CPU, and the GPU of a process, would draw next."""

    cpu: Tensor
    device: torch.device
    gpu: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RngState":
        """The present one."""
        gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, gpu)

    def restore(self) -> None:
        """Draw from here on what was drawn then."""
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)
