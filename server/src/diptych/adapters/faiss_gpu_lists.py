"""Copy rows onto a GPU in lists, and search so few of these as find almost all of the nearest.

Knows no threads.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import faiss
import numpy as np

from diptych.adapters.faiss_exam import MAX_HITS, Exam
from diptych.adapters.faiss_gpu import (
    PROBE_DIM,
    PROBE_PLACE,
    FaissGpu,
    GpuRows,
    probe_rows,
    require_right,
    short,
)
from diptych.adapters.faiss_gpu_centroids import MAX_PROBES, N_ROUNDS, GpuCentroids
from diptych.adapters.faiss_gpu_copying import Copying, Steps, copied_whole
from diptych.adapters.faiss_rows import Block
from diptych.core.types import Embeddings, Keys
from diptych.errors import ConfigError

SPARE = 64  # hits more than questions need, as some are dead
N_HELD_BACK = 128  # rows that are questions
LISTS_PER_ROOT = 4  # times the square root of the number of rows
ROWS_PER_LIST = 40  # of the sample: FAISS wants 39 at least
PROBE_ROWS = 400
MAX_SAMPLE_BYTES = 512 << 20  # in host memory while centroids are looked for


@dataclass(frozen=True)
class IvfPlan:
    """Which collections are copied in lists, and how much of the nearest must be found then.

    Where not even a `max_share` of the lists reaches `min_recall`, comparing all rows is about as fast.
    """

    min_rows: int = 250_000
    min_recall: float = 0.99
    max_share: float = 1 / 4


def copied_in_lists(copying: Copying, plan: IvfPlan, asked: Embeddings) -> Steps:
    """A copy in lists, or a whole one where lists find too little; `asked` (M, D) are the last queries.

    Raises what FAISS raises.
    """
    n_rows = sum(block.n_rows for block in copying.blocks)
    wanted = ROWS_PER_LIST * int(LISTS_PER_ROOT * sqrt(n_rows))
    most = MAX_SAMPLE_BYTES // (4 * copying.embed_dim)
    sample, held_back = yield from _drawn(copying.blocks, copying.embed_dim, min(wanted, most))
    n_lists = len(sample) // ROWS_PER_LIST
    if n_lists < 2:
        yield from copied_whole(copying, f"too few rows for lists: {n_rows:,}")
        return
    centroids = copying.centroids = GpuCentroids(copying.gpu, copying.embed_dim, n_lists)
    for _ in range(N_ROUNDS):
        centroids.improve(sample)
        yield
    del sample
    copy = copying.copy = centroids.lists()
    centroids.close()
    copying.centroids = None
    copy.reserve(n_rows)
    exam = Exam(held_back, asked)
    for keys, rows in copying.rows():
        copy.add(keys, rows)
        exam.look(keys, rows)
        yield
    copy.seal()
    yield
    why = yield from _probes_chosen(copy, exam, plan)
    if why:
        copying.close()
        yield from copied_whole(copying, why)


def measured_again(
    copy: GpuRows, blocks: Sequence[Block], plan: IvfPlan, asked: Embeddings
) -> Generator[None, None, str]:
    """Choose anew how many lists of a copy are searched; why that is not enough, or empty."""
    _, held_back = yield from _drawn(blocks, asked.shape[1], 0)
    exam = Exam(held_back, asked)
    for block in blocks:
        keys = block.keys
        is_here = copy.holds(keys)
        if is_here.any():
            exam.look(keys[is_here], block.rows[is_here])
        yield
    return (yield from _probes_chosen(copy, exam, plan))


def prove_lists(gpu: FaissGpu) -> None:
    """Copy a few rows in lists and search all of these. Raises ConfigError unless that is as on the CPU."""
    rows = probe_rows(PROBE_ROWS)
    block = Block(PROBE_DIM, 0)
    block.add(np.arange(len(rows), dtype=np.int64), rows)
    copying, failure = Copying(gpu, PROBE_DIM, [block]), ""
    try:
        for _ in copied_in_lists(copying, IvfPlan(min_recall=0.0), rows[:0]):
            pass
        assert copying.copy is not None
        failure, copying.copy.n_probes = copying.copy.why, copying.copy.n_lists
        places, cosines = copying.copy.nearest(rows[PROBE_PLACE], len(rows))
        keys = copying.copy.keys[places]
    except Exception as error:
        failure = short(error)
    copying.close()  # past the error, which holds on to the copy as well
    if failure:
        raise ConfigError(f"faiss {faiss.__version__} fails on the GPU, with lists: {failure}")
    require_right(rows, keys, cosines)


def _drawn(
    blocks: Sequence[Block], embed_dim: int, n_sample: int
) -> Generator[None, None, tuple[Embeddings, tuple[Keys, Embeddings]]]:
    """At most n_sample rows (N, D), and others, of N_HELD_BACK and a few more keys, all at random."""
    random, n_rows = np.random.default_rng(0), max(1, sum(block.n_rows for block in blocks))
    keys: list[Keys] = [np.empty(0, np.int64)]
    held_back: list[Embeddings] = [np.empty((0, embed_dim), np.float32)]
    samples = held_back.copy()
    for block in blocks:
        n_held_back = min(block.n_rows, ceil(N_HELD_BACK * block.n_rows / n_rows))
        n_drawn = min(block.n_rows, n_held_back + n_sample * block.n_rows // n_rows)
        if not n_drawn:
            continue
        some_keys, rows = block.at(random.choice(block.n_rows, n_drawn, replace=False))
        keys.append(some_keys[:n_held_back])
        held_back.append(rows[:n_held_back])
        samples.append(rows[n_held_back:])
        yield
    return np.concatenate(samples), (np.concatenate(keys), np.concatenate(held_back))


def _probes_chosen(copy: GpuRows, exam: Exam, plan: IvfPlan) -> Generator[None, None, str]:
    """The fewest lists that find enough, by doubling and then by halves; why there are none, or empty."""
    dead = copy.dead.copy()  # what is removed from now on is among the answers

    def measured(n_probes: int) -> float:
        places, cosines = copy.nearest_of(exam.questions, MAX_HITS + SPARE, n_probes)
        lacks = (places < 0) | dead[places]
        return exam.recall(copy.keys[places], np.where(lacks, np.float32(-np.inf), cosines))

    most = max(1, min(MAX_PROBES, int(plan.max_share * copy.n_lists)))
    too_few, enough, recall = 0, 1, measured(1)
    yield
    while recall < plan.min_recall and enough < most:
        too_few, enough = enough, min(2 * enough, most)
        recall = measured(enough)
        yield
    while recall >= plan.min_recall and enough - too_few > 1:
        middle = (too_few + enough) // 2
        if (of_middle := measured(middle)) >= plan.min_recall:
            enough, recall = middle, of_middle
        else:
            too_few = middle
        yield
    copy.n_probes, copy.recall = enough, recall
    if recall >= plan.min_recall:
        return ""
    return (
        f"{enough:,} of {copy.n_lists:,} lists find {recall:.1%} of the nearest, below {plan.min_recall:.1%}"
    )
