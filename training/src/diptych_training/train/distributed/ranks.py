"""The processes that train one model together, as torchrun starts them."""

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # imported later, by DDP, its default arguments would keep the group
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from diptych.errors import DiptychError
from diptych_training.errors import RankLost, TrainingConfigError, TrainingFailed
from diptych_training.train.distributed.interrupt import delay_sigterm

CPU = torch.device("cpu")
_GROUPS: list[object] = []  # kept until `_release_groups`
LOST = ("gloo", "nccl", "connection closed", "connection reset", "timed out", "broken pipe")  # in lower case


@dataclass(frozen=True)
class Ranks:
    """This process and the number of processes; the first one writes files and output.

    For a single process, every call is a no-op.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = CPU
    timeout_s: float = 600.0  # a rank that does not answer for this long is lost

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and output for all."""
        return self.rank == 0

    @property
    def is_single(self) -> bool:
        """Whether this is the only process."""
        return self.world_size == 1

    def share(self, n: int) -> slice:
        """This process's part of n items; n is a multiple of the number of processes."""
        size = n // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of all processes' scalars, on the device; not finite if one of them is not."""
        if self.is_single:
            return value
        total = value.to(torch.float64, copy=True)
        dist.all_reduce(total)
        return total / self.world_size

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self._sum(float(flag)) > 0

    def value_of_first(self, value: float) -> float:
        """The first process's value, so that all processes use the same."""
        if self.is_single:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared.item())

    def gather(self, rows: Tensor) -> Tensor:
        """(b, ...) of each process -> (B, ...) of all, in the order of the processes; without gradients."""
        if self.is_single:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world_size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def gather_with_gradient(self, rows: Tensor) -> Tensor:
        """Like `gather`; a row's gradient is the sum of its gradients in all processes."""
        return rows if self.is_single else _Gather.apply(rows, self)  # type: ignore[no-untyped-call]

    def run_on_first(self, work: Callable[[], object]) -> None:
        """Run `work` in the first process while the others wait. Raises its error there, and TrainingFailed
        elsewhere.
        """
        error = None
        if self.is_first:
            try:
                work()
            except (DiptychError, OSError) as raised:
                error = raised
        if self.any(error is not None):
            raise error or TrainingFailed("the first rank could not begin: see its message")

    def _sum(self, value: float) -> float:
        if self.is_single:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total.item())


SINGLE_RANK = Ranks()


@atexit.register
def _release_groups() -> None:
    """End gloo's threads while Python still runs.

    One of them may need the GIL to release tensors of the last call, and would abort the process if Python
    were gone. Dropping the last reference waits for the threads: without the GIL if it is a reference of
    Python's, but with it if of DDP's, so models are released first.
    """
    gc.collect()
    _GROUPS.clear()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.gather(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.ranks.share(len(total))], None


@contextmanager
def join_ranks(device: str, timeout_s: float) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the block; or yield this single process on the named
    device.

    With several processes, `cuda` means one GPU each. Raises TrainingFailed if the others cannot be reached.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Ranks(device=usable_device(device))
        return
    delay_sigterm()
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    on = usable_device(f"cuda:{local_rank}" if device == "cuda" else device)
    if on.type == "cuda":
        torch.cuda.set_device(on)
    try:
        backend = "nccl" if on.type == "cuda" else "gloo"
        timeout = timedelta(seconds=timeout_s)
        store = _rendezvous_store(rank, world_size, timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
        _GROUPS.append(dist.group.WORLD)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise TrainingFailed(
            f"rank {rank} of {world_size} could not join the others at {where}: {_first_line(error)}"
        ) from error
    try:
        yield Ranks(rank, world_size, local_rank, on, timeout_s)
    finally:
        with suppress(RuntimeError):  # others may be gone
            dist.destroy_process_group()


def _rendezvous_store(rank: int, world_size: int, timeout: timedelta) -> Store:
    """The store in which the processes exchange their addresses.

    torchrun may keep one store for all restarts of a run: restarted ranks must not read addresses of dead
    ones.
    """
    store, _, _ = next(rendezvous("env://", rank, world_size, timeout=timeout))
    store.set_timeout(timeout)
    is_shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if is_shared else "0"
    return PrefixStore(f"life {attempt}", store)


@contextmanager
def rank_loss_as_error(ranks: Ranks, when: Callable[[], str], then: str) -> Iterator[None]:
    """Raise RankLost for torch's errors about a process that is gone or does not answer in time.

    The message contains `when` it happened and what to do `then`.
    """
    try:
        yield
    except RuntimeError as error:
        if ranks.is_single or not (isinstance(error, dist.DistError) or _is_about_rank_loss(error)):
            raise
        raise RankLost(
            f"{when()}: another of the {ranks.world_size} ranks is gone, or did not answer within "
            f"{ranks.timeout_s:g} s, which is scale.timeout_s ({_first_line(error)}); {then}"
        ) from error


def usable_device(name: str) -> torch.device:
    """Return the device of that name. Raises TrainingConfigError if it is not available."""
    try:
        torch.zeros(1, device=name).item()  # a device with a valid name may still be missing
    except (RuntimeError, AssertionError) as error:
        raise TrainingConfigError(
            f"--device {name}: {_first_line(error)}; it must be auto, cpu, cuda or cuda:N"
        ) from error
    return torch.device(name)


def _is_about_rank_loss(error: RuntimeError) -> bool:
    message = str(error).lower()
    return any(sign in message for sign in LOST)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
