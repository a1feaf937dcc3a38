"""A model spread over processes: replicated (DDP) or sharded (FSDP2)."""

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
from diptych_training.models.layers import ResidualAttentionBlock
from diptych_training.models.pooled_vit import ProbePool
from diptych_training.models.resnet import AttentionPool2d, BasicBlock, Bottleneck
from diptych_training.train.distributed.ranks import Ranks

BLOCKS = (ResidualAttentionBlock, Bottleneck, BasicBlock, AttentionPool2d, ProbePool)  # sharded one by one


def replicate(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Wrap the model in DDP, which averages gradients in the backward pass; return the model itself if
    single.
    """
    if ranks.is_single:
        return model
    ids = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def shard(model: nn.Module, ranks: Ranks) -> None:
    """Shard every weight over the processes, block by block (FSDP2); the two scalars stay whole.

    A block's weights are whole while it computes; weights outside of blocks are whole while their tower
    computes. FSDP averages the gradients of shards but not of the scalars: `average_unsharded_gradients`
    does.
    """
    mesh = init_device_mesh(ranks.device.type, (ranks.world_size,))
    scalars = {parameter for parameter in model.parameters() if parameter.ndim == 0}
    for scalar in scalars:
        scalar.data = scalar.data.to(ranks.device)
    for module in model.modules():
        if isinstance(module, BLOCKS):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)
    for method in ("encode_image", "encode_text", "encode_text_start", "route_logits"):
        register_fsdp_forward_method(model, method)


def average_unsharded_gradients(model: nn.Module, ranks: Ranks) -> None:
    """Average the gradients of weights that every process holds whole in a sharded model."""
    if is_sharded(model):
        for parameter in model.parameters():
            if parameter.grad is not None and not isinstance(parameter, DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= ranks.world_size


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds only a shard of the weights."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def without_gradient_sync(model: nn.Module) -> AbstractContextManager[None]:
    """In the block, gradients are not averaged; the next backward pass outside of it averages them."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return nullcontext()


def local_shard(tensor: Tensor) -> Tensor:
    """This process's shard, sharing its memory; the tensor itself if it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensors(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Gather every tensor from its shards, on the CPU, in the first process; empty in the others.

    All processes must call it, since all send their shards. One tensor at a time, so a device never holds
    two.
    """
    gathered = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().detach().cpu() if isinstance(tensor, DTensor) else tensor
        if ranks.is_first:
            gathered[name] = full
    return gathered


def load_full(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load whole tensors into a model, or this process's shard of each. Raises CheckpointError naming one
    that differs.
    """
    own = model.state_dict()
    wrong = describe_mismatch(own, tensors)
    if wrong is not None:
        raise CheckpointError(wrong)
    with torch.no_grad():
        for name, tensor in own.items():
            copy_full(tensor, tensors[name])


def copy_full(target: Tensor, tensor: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded, on any device and in any memory format."""
    if isinstance(target, DTensor):
        placed = tensor.to(target.device)
        tensor = distribute_tensor(placed, target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(tensor)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a maximum norm over all processes. Returns the norm before, on the device."""
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
    """A scalar in float32 on the gradients' device; 0 for no gradients (possible if the scalars are
    locked).
    """
    found = [local_shard(gradient).float().square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(found).sum() if found else torch.zeros(())
