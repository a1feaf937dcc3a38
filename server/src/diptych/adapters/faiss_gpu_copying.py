"""Copy rows onto a GPU, piece by piece. Knows no threads."""

from collections.abc import Iterator, Sequence

import numpy as np

from diptych.adapters.faiss_gpu import FaissGpu, GpuRows
from diptych.adapters.faiss_gpu_centroids import GpuCentroids
from diptych.adapters.faiss_rows import Block
from diptych.core.types import Embeddings, Keys

Steps = Iterator[None]  # searches come in between


class Copying:
    """A copy that is being made of `blocks`, in `steps`; `gone` are keys that were removed meanwhile."""

    def __init__(self, gpu: FaissGpu, embed_dim: int, blocks: Sequence[Block]) -> None:
        self.gpu, self.embed_dim, self.blocks = gpu, embed_dim, blocks
        self.steps: Steps = iter(())
        self.in_lists = False  # whether these are tried
        self.gone: set[int] = set()
        self.copy: GpuRows | None = None
        self.centroids: GpuCentroids | None = None

    def rows(self) -> Iterator[tuple[Keys, Embeddings]]:
        """Those of each block: what came back under the key of something that is gone is not among them."""
        for block in self.blocks:
            keys = block.keys
            is_known = ~np.isin(keys, np.array(sorted(self.gone), np.int64))
            if is_known.any():
                yield keys[is_known], block.rows[is_known]

    def close(self) -> None:
        """Give the GPU's memory back, that of the copy as well."""
        if self.copy is not None:
            self.copy.close()
        if self.centroids is not None:
            self.centroids.close()
        self.copy = self.centroids = None


def copied_whole(copying: Copying, why: str) -> Steps:
    """A copy of which all rows are compared; `why` it is none in lists. Raises what FAISS raises."""
    copy = copying.copy = copying.gpu.copy(copying.embed_dim)
    copy.why = why
    for keys, rows in copying.rows():
        copy.add(keys, rows)
        yield
    copy.seal()
