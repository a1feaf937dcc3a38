"""Centroids on a GPU, and lists of rows around them: IVF. Knows no index of ours."""

from typing import Any

import faiss
import numpy as np

from diptych.adapters.faiss_gpu import GPU, FaissGpu, GpuRows
from diptych.adapters.gpu_gate import GATE
from diptych.core.types import Embeddings

MAX_PROBES = 2048  # more lists than that its selection on the GPU refuses
N_ROUNDS = 10  # of k-means: later ones move little


class GpuCentroids:
    """Centroids on the GPU, found by spherical k-means in rounds, as one call would keep searches waiting.

    To be closed by whoever lets go of it; what `lists` gave keeps them as long as it needs them.
    """

    def __init__(self, gpu: FaissGpu, embed_dim: int, n_lists: int) -> None:
        """Raises what FAISS raises, as all of it does."""
        self._gpu, self._embed_dim, self._n_lists = gpu, embed_dim, n_lists
        parameters: Any = faiss.ClusteringParameters()
        parameters.niter, parameters.spherical = 1, True
        # All rows of the sample count: FAISS leaves some out of many, and of few warns on standard error.
        parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, np.iinfo(np.int32).max
        # Goes on from its own centroids each time it trains.
        self._clustering: Any = faiss.Clustering(embed_dim, n_lists, parameters)
        with GATE.beside_others():
            self._index = gpu.flat(embed_dim)

    def improve(self, rows: Embeddings) -> None:
        """One round over the sample (N, D), N >= n_lists, the same each time."""
        with GATE.beside_others():
            self._clustering.train(rows, self._index)

    def lists(self) -> GpuRows:
        """Around these centroids, empty."""
        config = GPU.GpuIndexIVFFlatConfig()
        config.device, resources = 0, self._gpu.resources
        with GATE.beside_others():
            # It refers to the index of the centroids, and keeps that.
            index = GPU.GpuIndexIVFFlat(
                resources, self._index, self._embed_dim, self._n_lists, faiss.METRIC_INNER_PRODUCT, config
            )
            return GpuRows(index, self._n_lists)

    def close(self) -> None:
        """Give the GPU's memory back. Nothing is called afterwards."""
        with GATE.beside_others():
            self._index = None
