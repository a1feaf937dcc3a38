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


def wait_until_moved(client: TestClient, name: str) -> dict[str, Any]:
    """The collection once its rollout has ended. It can be searched all the while."""
    deadline = time.monotonic() + WITHIN_S
    while (found := client.get(f"/collections/{name}").json())["rollout"] is not None:
        assert found["state"] == "ready"
        found_ids = {hit["id"] for hit in search(client, name)["hits"]}
        assert found_ids == set(PICTURES)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return dict(found)


def wait_until_ended(client: TestClient, rollout: str) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while (found := client.get(rollout).json())["finished_at"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return dict(found)


def search(client: TestClient, name: str) -> dict[str, Any]:
    answer = client.post("/search", json={"query": {"text": "red"}, "collection": name})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


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
            for query in ({"text": "red"}, [{"text": "red"}, {"id": "noise", "weight": 0.5}]):
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


def test_patch_of_the_precision_is_a_rollout_during_which_the_collection_is_searched(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "model_repo", precisions=TWO)
    with running_app(tmp_path) as client:
        make(client, "pets")
        add(client, "pets")
        changed = client.patch("/collections/pets", json={"precision": "int8"})
        assert changed.status_code == 200, changed.text
        assert changed.json()["rollout"]["precision"] == "int8"
        found = wait_until_moved(client, "pets")
        assert client.patch("/collections/pets", json={"name": "animals"}).status_code == 200
        assert (found["precision"], found["vectors"]["precision"], found["n_embedded"]) == ("int8", "int8", 3)
        assert search(client, "animals")["model"]["precision"] == "int8"
        client.patch("/collections/animals", json={"keep": "none"})
        client.patch("/collections/animals", json={"precision": "server"})
        back = wait_until_moved(client, "animals")
        assert (back["precision"], back["keep"], back["state"]) == ("server", "none", "ready")
        assert back["vectors"]["precision"] == "fp32"
    for id, row in stored(tmp_path, "animals", "fp32").items():
        assert np.abs(row - expected(tmp_path / "model_repo", "fp32", PICTURES[id])).max() < 1e-6


def test_start_with_another_decode_mode_is_a_rollout_during_which_collections_are_searched(
    tmp_path: Path,
) -> None:
    with running_app(tmp_path) as client:
        make(client, "pets")
        make(client, "bare", keep="none")
        make(client, "small", precision="fp32")
        for name in ("pets", "bare", "small"):
            add(client, name)
    with running_app(tmp_path, decode="fast") as client:
        (rollout,) = client.get("/rollouts", params={"limit": 1}).json()["rollouts"]
        for name in ("pets", "small"):
            assert wait_until_moved(client, name)["n_embedded"] == 3
        ended = wait_until_ended(client, f"/rollouts/{rollout['id']}")
        assert (ended["state"], ended["comparison"] is None) == ("active", False)
        decodes = {name: search(client, name)["model"]["decode"] for name in ("pets", "small", "bare")}
        assert decodes == {"pets": "fast", "small": "fast", "bare": "exact"}
        bare = client.get("/collections/bare").json()
        assert (bare["state"], "3 of 3 rows keep no image" in bare["stays"]) == ("ready", True)


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


def test_collection_whose_precision_a_version_lacks_stays_and_is_searched(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo, precisions=TWO)
    with running_app(tmp_path, rollout="manual") as client:
        make(client, "small", precision="int8")
        make(client, "usual")
        for name in ("small", "usual"):
            add(client, name)
        write_tiny_bundle(repo, precisions={"fp32": "equal"}, seed=1)
        begun = client.post(f"/models/{TINY}/versions/2/activate")
        assert begun.status_code == 202, begun.text
        rollout = wait_until_ended(client, begun.headers["location"])
        assert client.get("/collections/usual").json()["version"] == 2
        reason = "tiny/2 has no precision 'int8', only fp32; 'server' means the server's own"
        assert (rollout["state"], rollout["stays"]) == ("active", {"small": reason})
        found = client.get("/collections/small").json()
        assert (found["state"], found["version"], found["stays"]) == ("ready", 1, reason)
        model = search(client, "small")["model"]
        assert (model["version"], model["precision"]) == (1, "int8")
        assert search(client, "usual")["model"]["version"] == 2
        client.patch("/collections/small", json={"model": TINY, "precision": "server"})
        moved = wait_until_moved(client, "small")
        assert (moved["version"], moved["stays"]) == (2, "")


def test_collection_that_stays_is_searched_after_a_restart(tmp_path: Path) -> None:
    repo = tmp_path / "model_repo"
    write_tiny_bundle(repo, precisions=TWO)
    with running_app(tmp_path) as client:
        make(client, "small", precision="int8")
        add(client, "small")
    write_tiny_bundle(repo, precisions={"fp32": "equal"}, seed=1)
    with running_app(tmp_path) as client:
        deadline = time.monotonic() + WITHIN_S
        while client.post("/embed", json={"input": [{"text": "a"}]}).json()["model"]["version"] != 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with running_app(tmp_path) as client:
        assert client.post("/embed", json={"input": [{"text": "a"}]}).json()["model"]["version"] == 2
        assert search(client, "small")["model"]["version"] == 1
        assert client.get("/collections/small").json()["stays"] != ""
        assert client.get("/readyz").json()["n_without_precision"] == 0
