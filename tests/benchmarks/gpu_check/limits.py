"""What the card can do: square matrix products of each kind of number, and copies. Knows no model."""

import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu_check.findings import Finding
from benchmarks.gpu_check.sizes import Sizes

TIER = "torch"
N_CALLS = 20  # between two looks at the clock
ROUNDS = 3
# What a product is called, the type of its numbers, and whether float32 may be rounded to 10 bits.
PRODUCTS = (
    ("fp32", torch.float32, False),
    ("tf32", torch.float32, True),
    ("fp16", torch.float16, False),
    ("bf16", torch.bfloat16, False),
)


def measure_limits(device: torch.device, sizes: Sizes) -> Iterator[Finding]:
    """The best of some rounds each."""
    for name, dtype, rounded in PRODUCTS:
        tflops = _product_tflops(device, sizes.product, dtype, rounded)
        yield Finding(
            TIER, "limit", f"products of {name}", {"tflops": tflops}, note=f"{sizes.product} square"
        )
    n_bytes = sizes.copy_mb << 20
    page_locked = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
    pageable = torch.empty(n_bytes, dtype=torch.uint8)
    there, beside = (torch.empty(n_bytes, dtype=torch.uint8, device=device) for _ in range(2))
    copies: dict[str, Callable[[], object]] = {
        "page-locked to card": lambda: there.copy_(page_locked, non_blocking=True),
        "pageable to card": lambda: there.copy_(pageable),
        "card to page-locked": lambda: page_locked.copy_(there, non_blocking=True),
        "within the card": lambda: beside.copy_(there),
    }
    for name, copy in copies.items():
        figures = {"gb_per_s": n_bytes / _seconds(copy, device) / 1e9}
        yield Finding(TIER, "limit", f"copies {name}", figures, note=f"{sizes.copy_mb} MiB")


def _product_tflops(device: torch.device, side: int, dtype: torch.dtype, rounded: bool) -> float:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = rounded
    try:
        a, b = (torch.randn((side, side), device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        return 2 * side**3 / _seconds(lambda: torch.matmul(a, b, out=out), device) / 1e12
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Of one call, at best."""
    best = float("inf")
    for _ in range(1 + ROUNDS):  # the first is not warm, and never the best
        _wait(device)
        began = time.perf_counter()
        for _ in range(N_CALLS):
            call()
        _wait(device)
        best = min(best, (time.perf_counter() - began) / N_CALLS)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
