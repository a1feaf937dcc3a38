"""How large and how long: for a card, for a quick look at it, and for trying the program without one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """`seconds` of one window of a tower, `serving_s` of one of the server."""

    model: str  # an architecture of diptych-train, or `tiny`
    precisions: tuple[str, ...]
    batches: tuple[int, ...]
    text_length: int  # tokens, start and end included
    seconds: float
    product: int  # side of the square matrices
    copy_mb: int
    train_batch: int
    train_steps: int
    clients: tuple[int, ...]
    serving_s: float
    n_pictures: int
    rows: tuple[int, ...]  # of the indexes
    n_queries: int
    compiler: str  # backend of torch.compile


TINY = "tiny"
FULL = Sizes(
    model="ViT-B-32", precisions=("fp32", "fp16"), batches=(1, 8, 32, 128, 256, 512), text_length=16,
    seconds=0.5, product=8192, copy_mb=256, train_batch=512, train_steps=12, clients=(1, 32, 128),
    serving_s=4.0, n_pictures=512, rows=(100_000, 1_000_000), n_queries=50, compiler="inductor",
)  # fmt: skip
QUICK = Sizes(
    model="ViT-B-32", precisions=("fp32", "fp16"), batches=(1, 32, 256), text_length=16,
    seconds=0.2, product=4096, copy_mb=64, train_batch=256, train_steps=4, clients=(1, 32),
    serving_s=1.5, n_pictures=128, rows=(100_000,), n_queries=50, compiler="inductor",
)  # fmt: skip
DRY = Sizes(
    model=TINY, precisions=("fp32", "fp16"), batches=(1, 4), text_length=8,
    seconds=0.02, product=64, copy_mb=1, train_batch=8, train_steps=2, clients=(1, 2),
    serving_s=0.5, n_pictures=4, rows=(2_000,), n_queries=5, compiler="eager",
)  # fmt: skip
