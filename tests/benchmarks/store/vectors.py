"""Ready-made vectors added over HTTP, a thousand a request, each answered once its commit is fsynced."""

import json
import time

import httpx
import numpy as np

from benchmarks.store.adding import new_collection, require_created

BATCH = 1_000
N_BATCHES = 30
JSON = {"Accept": "application/json"}


def rows_per_second(http: httpx.Client) -> list[float]:
    """Of each batch, by one client, into an empty collection."""
    path = new_collection(http, "vectors")
    origin, embed_dim = _origin(http)
    rng = np.random.default_rng(0)
    found = []
    for number in range(N_BATCHES):
        rows = rng.standard_normal((BATCH, embed_dim)).astype("<f4")
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        items = [{"id": f"r{number * BATCH + n}", "metadata": {"n": n, "album": "x"}} for n in range(BATCH)]
        form = {
            "model": (None, json.dumps(origin)),
            "embeddings": ("rows", rows.tobytes()),
            "items": (None, json.dumps(items)),
        }
        began = time.perf_counter()
        answer = http.post(f"{path}/vectors", files=form)
        found.append(BATCH / (time.perf_counter() - began))
        answer.raise_for_status()
        require_created(answer)
    return found


def _origin(http: httpx.Client) -> tuple[dict[str, object], int]:
    """What made the vectors: the version that serves, in the precision of collections."""
    asked = {"input": [{"text": "x"}]}
    answer = http.post("/embed", json=asked, headers=JSON).raise_for_status().json()
    model = answer["model"]
    return {"name": model["name"], "version": model["version"]}, len(answer["data"][0]["embedding"])
