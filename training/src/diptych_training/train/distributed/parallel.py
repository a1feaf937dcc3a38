"""Spread a model over processes: a copy each (DDP), or a share each (FSDP2); knows nothing of losses."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from diptych_training.checkpoint import describe_mismatch
from diptych_training.errors import CheckpointError
from diptych_training.models.clip import CLIP
from diptych_training.models.layers import ResidualAttentionBlock
from diptych_training.models.pooled_vit import ProbePool
from diptych_training.models.resnet import AttentionPool2d, BasicBlock, Bottleneck
from diptych_training.train.distributed.ranks import Ranks

BLOCKS = (ResidualAttentionBlock, Bottleneck, BasicBlock, AttentionPool2d, ProbePool)  # shared one by one


def replicate(model: CLIP, ranks: Ranks) -> nn.Module:
    """The model behind DDP, which averages gradients during the backward pass; the model itself if alone."""
    if ranks.is_single:
        return model
    ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def shard(model: CLIP, ranks: Ranks) -> None:
    """Leave each process a share of every weight, block by block (FSDP2); the two scalars stay whole.

    A block's weights are whole while it computes; those of no block are while their tower does. Averages
    gradients of shares, but not of the scalars: `average_unsharded_gradients` does.
    """
    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
    scalars = {parameter for parameter in model.parameters() if parameter.ndim == 0}
    for scalar in scalars:
        scalar.data = scalar.data.to(ranks.device)
    for module in model.modules():
        if isinstance(module, BLOCKS):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)
    for method in ("encode_image", "encode_text"):
        register_fsdp_forward_method(model, method)


def average_unsharded_gradients(model: nn.Module, ranks: Ranks) -> None:
    """Average the gradients that sharding does not: those of weights that every process has whole."""
    if is_sharded(model):
        for parameter in model.parameters():
            if parameter.grad is not None and not isinstance(parameter, DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= ranks.world_size


def is_sharded(model: nn.Module) -> bool:
    """Whether each process has a share of it."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def without_gradient_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Gradients of the block's passes stay this process's own until the next pass outside of it."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def local_shard(tensor: Tensor) -> Tensor:
    """This process's share, sharing its memory; the tensor itself if it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensors(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Every tensor put together from its shares, on the CPU, in the first process; empty in the others.

    All processes must call it, since they all send theirs. One tensor at a time: a device never holds two.
    """
    gathered = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().detach().cpu() if isinstance(tensor, DTensor) else tensor
        if ranks.is_first:
            gathered[name] = full
    return gathered


def load_full(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Take whole tensors into a model, or this process's share of each. Raises CheckpointError naming one."""
    own = model.state_dict()
    wrong = describe_mismatch(own, tensors)
    if wrong is not None:
        raise CheckpointError(wrong)
    with torch.no_grad():
        for name, tensor in own.items():
            copy_full(tensor, tensors[name])


def copy_full(target: Tensor, tensor: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded, on whatever device and in whatever memory format."""
    if isinstance(target, DTensor):
        placed = tensor.to(target.device)
        tensor = distribute_tensor(placed, target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(tensor)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm over all processes' shares. Returns the norm before, on the device."""
    learned = [parameter for parameter in parameters if parameter.grad is not None]
    shares = [parameter.grad for parameter in learned if isinstance(parameter.grad, DTensor)]
    if not shares:
        return nn.utils.clip_grad_norm_(learned, max_norm)
    squares = _sum_of_squares(shares)
    dist.all_reduce(squares, group=shares[0].device_mesh.get_group())
    whole_ones = [p.grad for p in learned if not isinstance(p.grad, DTensor)]
    norm = (squares + _sum_of_squares(whole_ones)).sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for parameter in learned:
        assert parameter.grad is not None
        local_shard(parameter.grad).mul_(scale)
    return norm


def _sum_of_squares(gradients: Iterable[Tensor | None]) -> Tensor:
    """A scalar in float32, on the gradients' device; 0 of none: with locked scales all may be shared."""
    found = [local_shard(gradient).float().square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(found).sum() if found else torch.zeros(())
