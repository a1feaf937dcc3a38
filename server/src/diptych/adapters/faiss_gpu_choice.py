"""Choose how a collection is copied onto a GPU, whole or in lists, and when lists are measured again."""

import logging
from collections import deque
from collections.abc import Generator, Sequence

import numpy as np

from diptych.adapters.faiss_gpu import GpuRows
from diptych.adapters.faiss_gpu_copying import Copying, copied_whole
from diptych.adapters.faiss_gpu_lists import IvfPlan, copied_in_lists, measured_again
from diptych.adapters.faiss_rows import Block
from diptych.core.types import Embedding, Embeddings

LOG = logging.getLogger("diptych.index")
N_ASKED = 64  # of the last queries, by which recall is measured


class CopyChoice:
    """Of one collection. With no plan, every copy is whole, and nothing is measured.

    Real queries, as of texts, may lie where no rows do, and there are none yet when a server starts: lists
    are measured again after the first N_ASKED, and then each time that there were ten times as many.
    """

    def __init__(self, embed_dim: int, plan: IvfPlan | None) -> None:
        self._embed_dim, self._plan = embed_dim, plan
        self._asked, self._n_asked = deque[Embedding](maxlen=N_ASKED), 0
        self._measure_at = N_ASKED
        self._whole_until, self._why_whole = 0, ""  # so many rows lists are not tried again, and why

    def heard(self, query: Embedding) -> None:
        """It was searched for."""
        if self._plan is not None:
            self._asked.append(np.array(query, np.float32))
            self._n_asked += 1

    def begin(self, copying: Copying, n_rows: int) -> None:
        """Give it its steps."""
        if self._plan is None:
            copying.steps = copied_whole(copying, "")
        elif n_rows < self._plan.min_rows:
            copying.steps = copied_whole(copying, f"lists begin at {self._plan.min_rows:,}")
        elif n_rows < self._whole_until:
            copying.steps = copied_whole(copying, self._why_whole)
        else:
            copying.in_lists = True
            copying.steps = copied_in_lists(copying, self._plan, self._questions())

    def measuring(self, sealed: GpuRows, blocks: Sequence[Block]) -> Generator[None, None, str] | None:
        """Of a copy in lists, if it is time; gives why lists are not enough, or empty."""
        if self._plan is None or not sealed.n_lists or self._n_asked < self._measure_at:
            return None
        return measured_again(sealed, blocks, self._plan, self._questions())

    def give_up(self, why: str, n_rows: int) -> None:
        """Lists are tried again when there are twice as many rows."""
        LOG.info("an index of %d rows is not searched in lists: %s", n_rows, why)
        self._whole_until, self._why_whole = 2 * n_rows, why

    def _questions(self) -> Embeddings:
        """(N, D)."""
        self._measure_at = max(N_ASKED, 10 * self._n_asked)
        return np.array(self._asked, np.float32).reshape(len(self._asked), self._embed_dim)
