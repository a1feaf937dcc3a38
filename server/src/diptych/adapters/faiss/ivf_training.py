"""Train inverted lists on the rows of a collection, and choose how many of them a search looks into."""

import logging
from collections.abc import Callable, Iterator, Mapping
from math import ceil, sqrt
from typing import Any

import faiss
import numpy as np

from diptych.adapters.faiss.float_rows import FloatRows
from diptych.adapters.faiss.ivf_rows import MAX_COMPARED, IvfRows, Trained
from diptych.core.types import Embeddings, IndexRecall, Keys

LOG = logging.getLogger("diptych.index")
SEED = 1234
N_ITERATIONS = 10
ROWS_PER_LIST = 40  # that lists are trained on
K, RECALL = 10, 0.99
STEP = 1.25  # from one number of lists to the next that is tried
MARGIN = 1.5  # for other texts than those that it is tuned by
N_IMAGES = 150  # queries by images
SAME = 1e-5  # cosines nearer than this are equal: products of matrices round otherwise
NO_KEY = -1

Parts = Callable[[], Iterator[tuple[Keys, Embeddings]]]
Check = Callable[[], object]  # raises when the work is to end


def n_lists(n_rows: int) -> int:
    """The number of lists for so many rows."""
    return max(1, round(4 * sqrt(n_rows)))


def trained_lists(keys: Keys, parts: Parts, embed_dim: int, check: Check) -> Any:
    """An empty IVF index of 8-bit codes, trained on a sample of the rows, which `parts` reads part by part.

    The same rows make the same lists, in whatever order they are stored.
    """
    n_wanted = ROWS_PER_LIST * n_lists(len(keys))
    chosen = np.sort(np.random.default_rng(SEED).permutation(np.sort(keys))[:n_wanted])
    sample_keys, samples = list[Keys](), list[Embeddings]()
    for part_keys, rows in parts():
        check()
        wanted = np.isin(part_keys, chosen)
        sample_keys.append(part_keys[wanted])
        samples.append(rows[wanted])
    sample = np.concatenate(samples)[np.argsort(np.concatenate(sample_keys))]
    n = min(n_lists(len(keys)), len(sample))
    centroids = _centroids(sample, n, check)
    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexIVFScalarQuantizer(centroids, embed_dim, n, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(sample)  # of the codes: the lists are trained
    return index


def _centroids(sample: Embeddings, n: int, check: Check) -> faiss.IndexFlatIP:
    """Spherical k-means, one iteration after the other so that it can end early."""
    parameters = faiss.ClusteringParameters()
    parameters.niter, parameters.spherical, parameters.seed = 1, True, SEED
    parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, len(sample)
    clustering = faiss.Clustering(sample.shape[1], n, parameters)
    centroids = faiss.IndexFlatIP(sample.shape[1])
    for _ in range(N_ITERATIONS):
        check()
        centroids.reset()
        clustering.train(sample, centroids)  # goes on from the centroids that there are
    return centroids


def tune(rows: IvfRows, texts: Mapping[str, Embeddings], check: Check) -> None:
    """Set the smallest `nprobe` with a recall of RECALL by each group of texts, and a margin; measure both.

    `texts` are queries (N, D) by the name of their group, `names` and `nouns`. Rows that are asked for
    themselves would mislead: they need few lists.
    """
    live = rows.keys
    asked = np.sort(live)[:: max(1, len(live) // N_IMAGES)][:N_IMAGES]
    images = np.concatenate([part[np.isin(keys, asked)] for keys, part in rows.parts()])
    image_keys = np.concatenate([keys[np.isin(keys, asked)] for keys, _ in rows.parts()])
    queries = np.concatenate([*texts.values(), images]).astype(np.float32)
    own = np.concatenate([np.full(len(queries) - len(images), NO_KEY), image_keys])
    groups = np.repeat([*texts, "images"], [*map(len, texts.values()), len(images)])
    truth = _Truth(rows, queries, own, check)
    is_text = groups != "images"
    nprobe = _first_guess(truth, rows, groups, is_text)
    while True:
        check()
        rows.trained.nprobe = nprobe
        found = truth.recalls(rows, is_text)
        worst = min(found[groups[is_text] == name].mean() for name in texts)
        if worst >= RECALL or nprobe >= rows.index.nlist:
            break
        nprobe = min(rows.index.nlist, ceil(STEP * nprobe))
    rows.trained.nprobe = min(rows.index.nlist, ceil(MARGIN * nprobe))
    found = truth.recalls(rows, np.ones(len(groups), np.bool_))
    shares = {name: float(found[groups == name].mean()) for name in (*texts, "images")}
    rows.trained.recall = IndexRecall(**shares)
    rows.trained.imbalance = float(rows.index.invlists.imbalance_factor())


def _first_guess(truth: "_Truth", rows: IvfRows, groups: Any, is_text: Any) -> int:
    """So many lists that RECALL of the true hits of each group of texts lie in them."""
    ranks = truth.ranks_of_lists(rows, is_text)
    names = groups[is_text]
    places = (np.sort(ranks[names == name].ravel()) for name in np.unique(names))
    return int(max(one[ceil(RECALL * len(one)) - 1] for one in places)) + 1


class _Truth:
    """The exact hits of queries, and which of them a search finds."""

    def __init__(self, rows: IvfRows, queries: Embeddings, own: Keys, check: Check) -> None:
        """`own`: the key of the row that a query is, which is no hit; NO_KEY for a text."""
        self._queries, self._own = queries, own
        self._k = min(K, rows.n_rows - 1)
        slots, cosines, start = list[Any](), list[Any](), 0
        keys, is_live = rows.slots
        for part in rows.floats.parts():
            check()
            here = np.flatnonzero(is_live[start : start + len(part)])
            if len(here):
                every = part if len(here) == len(part) else part[here]
                found, places = faiss.knn(
                    queries, every, min(self._k + 1, len(here)), faiss.METRIC_INNER_PRODUCT
                )
                cosines.append(found)
                slots.append(start + here[places])
            start += len(part)
        all_cosines, all_slots = np.concatenate(cosines, axis=1), np.concatenate(slots, axis=1)
        all_cosines[keys[all_slots] == own[:, np.newaxis]] = -2
        best = np.argsort(-all_cosines, axis=1, kind="stable")[:, : self._k]
        self._slots = np.take_along_axis(all_slots, best, axis=1)  # (Q, k)
        self._least = np.take_along_axis(all_cosines, best, axis=1)[:, -1]

    def recalls(self, rows: IvfRows, which: Any) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """The share of the hits of each query of `which` that are as near as the true ones."""
        shares = list[float]()
        for query, own, least in zip(self._queries[which], self._own[which], self._least[which], strict=True):
            keys, cosines = rows.nearest(query, self._k + 1, None)
            near = cosines[keys != own][: self._k] >= least - SAME
            shares.append(np.count_nonzero(near) / self._k)
        return np.array(shares)

    def ranks_of_lists(self, rows: IvfRows, which: Any) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """The rank (Q, k) of the list of each true hit among all lists, the nearest to the query first."""
        index, queries, slots = rows.index, self._queries[which], self._slots[which]
        _, order = index.quantizer.search(queries, index.nlist)  # (Q, L)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(index.nlist)[np.newaxis], axis=1)
        lists = index.quantizer.assign(rows.floats.rows(slots.ravel()), 1).reshape(slots.shape)
        return np.take_along_axis(ranks, lists, axis=1)


def new_lists(index: Any, floats: FloatRows, n_rows: int, max_compared: int = MAX_COMPARED) -> IvfRows:
    """Rows in a trained, empty index; until they are tuned a search looks into all lists."""
    return IvfRows(index, floats, Trained(n_rows, index.nlist), max_compared)
