"""Collections with their own precision, over HTTP, with real graphs in two precisions."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.adapters.sqlite.store import SqliteStore
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import identity
from diptych.bundle.repository import ModelRepository
from support.app import running_app
from support.pictures import noise, picture
from support.tiny_bundle import TINY, Fault, write_tiny_bundle

WITHIN_S = 60
PICTURES = {"red": picture("red"), "green": picture("green"), "noise": noise(3)}
TWO: dict[str, Fault] = {"fp32": "equal", "int8": "rounded"}


def add(client: TestClient, name: str, pictures: dict[str, bytes] = PICTURES) -> dict[str, Any]:
    files: list[tuple[str, Any]] = [("image", ("x", payload)) for payload in pictures.values()]
    files.append(("items", (None, json.dumps([{"id": id} for id in pictures]))))
    answer = client.post(f"/collections/{name}/images", files=files)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def make(client: TestClient, name: str, **settings: Any) -> dict[str, Any]:
    answer = client.post("/collections", json={"name": name, **settings})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def wait_until_ready(client: TestClient, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while (found := client.get(f"/collections/{name}").json())["state"] != "ready":
        assert found["state"] == "embedding"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return dict(found)


def models_in(client: TestClient) -> set[str]:
    lines = client.get("/metrics").text.splitlines()
    rows = [line for line in lines if line.startswith("diptych_model_info{")]
    return {row.split('precision="')[1].split('"')[0] for row in rows}


def expected(repo: Path, precision: str, payload: bytes) -> Any:
    """Return (D,): the vector that the encoder of that precision computes."""
    folder, manifest = ModelRepository(repo).folder(TINY, 1), ModelRepository(repo).manifest(TINY, 1)
    files = manifest.precisions[precision]
    encoder = OnnxEncoder(folder / files.image_file, folder / files.text_file, n_threads=1)
    return encoder.encode_image(load_pixels(payload, manifest.image, ImageLimits())[np.newaxis])[0]


def stored(folder: Path, name: str, precision: str) -> dict[str, Any]:
    """Return the stored vectors of one precision by id. No server may run."""
    wanted = identity(ModelRepository(folder / "model_repo").manifest(TINY, 1), precision, "exact")

    async def read() -> dict[str, Any]:
        records = SqliteStore(folder / "data")
        found = {id: await records.embedding(name, id, wanted) for id in PICTURES}
        await records.close()
        return found

    return asyncio.run(read())


def test_each_collection_keeps_and_finds_vectors_of_its_own_precision(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo, precisions=TWO)
    with running_app(tmp_path, precision="fp32") as client:
        assert models_in(client) == {"fp32"}
        assert make(client, "exact")["precision"] == "server"
        small = make(client, "small", precision="int8")
        assert (small["precision"], small["vectors"]["precision"]) == ("int8", "int8")
        assert models_in(client) == {"fp32", "int8"}
        for name, precision in {"exact": "fp32", "small": "int8"}.items():
            assert add(client, name)["model"]["precision"] == precision
            for query in ({"text": "red"}, {"id": "red"}, [{"text": "red"}, {"id": "red", "weight": 0.5}]):
                answer = client.post("/search", json={"query": query, "collection": name}).json()
                assert (answer["model"]["precision"], answer["hits"][0]["id"]) == (precision, "red")
            files = [("image", ("x", PICTURES["noise"])), ("collection", (None, name))]
            best = client.post("/search", files=files).json()["hits"][0]
            assert best["id"] == "noise"
            assert best["cosine"] == pytest.approx(1, abs=1e-6)
        assert 'diptych_batch_size_count{encoder="collection_image_int8"}' in client.get("/metrics").text
        for answer in (
            client.post("/embed", json={"input": [{"text": "red"}]}),
            client.post("/v1/embeddings", json={"input": "red", "model": TINY}),
        ):
            assert answer.status_code == 200
        assert client.post("/embed", json={"input": [{"text": "a"}]}).json()["model"]["precision"] == "fp32"
    for name, precision in {"exact": "fp32", "small": "int8"}.items():
        for id, row in stored(tmp_path, name, precision).items():
            assert np.abs(row - expected(repo, precision, PICTURES[id])).max() < 1e-6
            other = "int8" if precision == "fp32" else "fp32"
            assert np.abs(row - expected(repo, other, PICTURES[id])).max() > 1e-4
    with running_app(tmp_path, precision="fp32") as client:
        assert models_in(client) == {"fp32", "int8"}
        for name in ("exact", "small"):
            assert client.get(f"/collections/{name}").json()["state"] == "ready"
            hits = client.post("/search", json={"query": {"text": "red"}, "collection": name}).json()["hits"]
            assert hits[0]["id"] == "red"
        client.delete("/collections/small")
        deadline = time.monotonic() + WITHIN_S
        while models_in(client) != {"fp32"}:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_precision_that_requests_have_already_is_not_loaded_twice(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path, precision="int8") as client:
        make(client, "small", precision="int8")
        add(client, "small")
        assert 'encoder="collection_image_int8"' not in client.get("/metrics").text


def test_patch_of_the_precision_embeds_again_and_is_shown(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path) as client:
        make(client, "pets")
        add(client, "pets")
        changed = client.patch("/collections/pets", json={"precision": "int8", "name": "animals"})
        assert changed.status_code == 200, changed.text
        assert (changed.json()["name"], changed.json()["precision"]) == ("animals", "int8")
        found = wait_until_ready(client, "animals")
        assert (found["vectors"]["precision"], found["n_embedded"]) == ("int8", 3)
        back = client.patch("/collections/animals", json={"precision": "server", "keep": "none"}).json()
        assert (back["precision"], back["keep"], back["state"]) == ("server", "none", "ready")
        assert back["vectors"]["precision"] == "fp32"
    for precision in TWO:
        for id, row in stored(tmp_path, "animals", precision).items():
            wanted = expected(tmp_path / "model_repo", precision, PICTURES[id])
            assert np.abs(row - wanted).max() < 1e-6


def test_refused_precisions_are_explained_and_change_nothing(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO | {"fp16": "broken"})
    with running_app(tmp_path, precision="fp32") as client:
        make(client, "bare", keep="none")
        add(client, "bare")
        before = client.get("/collections").json()
        for body, status, complaint in (
            (
                {"precision": "int4"},
                422,
                "tiny/1 has no precision 'int4', only fp32, int8, fp16; 'server' means",
            ),
            (
                {"precision": "fp16"},
                422,
                "precision fp16 of tiny/1 cannot be served here: golden image 1: cos",
            ),
            ({"precision": 8}, 422, "string"),
            ({"precision": "int8"}, 409, "3 of 3 rows keep no image that could be embedded again"),
            ({"precision": "int8", "name": "other"}, 409, "3 of 3 rows keep no image"),
            ({"precision": "int8", "name": "default"}, 409, "named 'default' already"),
        ):
            answer = client.patch("/collections/bare", json=body)
            assert (answer.status_code, complaint in answer.json()["detail"]) == (status, True), answer.text
            if status == 422:
                made = client.post("/collections", json={"name": "new"} | body)
                assert (made.status_code, made.json()["item"]) == (422, "precision")
        assert client.get("/collections").json() == before
        assert models_in(client) == {"fp32"}
        vectors = {"name": TINY, "version": 1, "precision": "fp32"}
        make(client, "small", precision="int8")
        rows = {"model": vectors, "items": [{"embedding": [1.0] + [0.0] * 15}]}
        mixed = client.post("/collections/small/vectors", json=rows)
        assert (mixed.status_code, "keeps those of tiny/1 (int8" in mixed.json()["detail"]) == (409, True)


def test_version_without_the_precision_serves_the_other_collections_and_reports_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo, precisions=TWO)
    with running_app(tmp_path) as client:
        make(client, "small", precision="int8")
        add(client, "small")
        assert client.get("/readyz").json()["n_without_precision"] == 0
    write_tiny_bundle(repo, precisions={"fp32": "equal"}, seed=1)
    with running_app(tmp_path) as client:
        assert client.get("/readyz").json()["n_without_precision"] == 1
        found = client.get("/collections/small").json()
        reason = "tiny/2 has no precision 'int8', only fp32; 'server' means the server's own"
        assert (found["state"], found["reason"]) == ("no_precision", reason)
        assert (found["n_images"], found["n_kept"], found["vectors"]) == (3, 3, None)
        assert f"collection small is not served: {reason}" in caplog.text
        for refused in (
            client.post("/search", json={"query": {"text": "red"}, "collection": "small"}),
            client.post("/collections/small/images", files=[("image", ("x", PICTURES["red"]))]),
            client.post("/collections/small/deletions", json={"lacking": True}),
        ):
            assert refused.status_code == 409
            assert reason in refused.json()["detail"]
        assert client.get("/collections/small/images/red/original").content == PICTURES["red"]
        assert client.get("/search", params={"q": "red"}).status_code == 200
        client.patch("/collections/small", json={"precision": "server"})
        assert wait_until_ready(client, "small")["vectors"]["version"] == 2
    with running_app(tmp_path, version=1) as client:
        client.patch("/collections/small", json={"precision": "int8"})
        assert (
            client.get("/collections/small").json()["state"] == "ready"
        )  # its first vectors are still there
