"""Long adds as callers see them, on the tiny bundle."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.image_requests import files_of
from support.pictures import noise
from support.tars import tar_of

pytestmark = pytest.mark.usefixtures("collection_path")

IMAGES = "/collections/pets/images"
SMALL = {"max_add_items": 4, "max_job_items": 30, "max_image_bytes": 20_000}
ENDS_WITHIN_S = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with running_app(folder, **SMALL) as client:
        yield client


def send(client: TestClient, *payloads: bytes, items: Any = None, **params: Any) -> Any:
    """Send a form whose `items` stand between its images."""
    files: list[tuple[str, Any]] = [*files_of(payloads)]
    if items is not None:
        files.insert(len(files) // 2, ("items", (None, json.dumps(items))))
    return client.post(IMAGES, files=files, params=params)


def send_tar(client: TestClient, archive: bytes, **params: Any) -> Any:
    return client.post(IMAGES, content=archive, headers={"content-type": "application/x-tar"}, params=params)


def ended(client: TestClient, answer: Any) -> Any:
    """Wait until the accepted job has ended; return the page with all of its outcomes."""
    assert answer.status_code == 202, answer.text
    path, deadline = answer.headers["location"], time.monotonic() + ENDS_WITHIN_S
    while (job := client.get(path).json())["finished_at"] is None:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return client.get(f"{path}/outcomes", params={"limit": 1000}).json()


def test_more_images_than_one_add_takes_become_a_job(client: TestClient, folder: Path) -> None:
    payloads = [noise(i) for i in range(5)]
    items = [{"id": f"i{i}", "metadata": {"n": i}} for i in range(5)]
    accepted = send(client, *payloads, items=items)
    job = accepted.json()
    assert accepted.headers["location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert (job["collection"], job["n_items"], job["replace"]) == ("pets", 5, False)
    page = ended(client, accepted)
    assert [(one["index"], one["id"], one["status"]) for one in page["outcomes"]] == [
        (i, f"i{i}", "created") for i in range(5)
    ]
    assert (page["job"]["state"], page["job"]["n_done"], page["next"]) == ("done", 5, None)
    assert page["job"]["counts"] == {"created": 5, "unchanged": 0, "replaced": 0, "failed": 0}
    assert client.get(f"{IMAGES}/i3").json()["metadata"] == {"n": 3}
    assert client.get(f"{IMAGES}/i3/original").content == payloads[3]
    assert list((folder / "data" / "jobs").iterdir()) == []


def test_archive_becomes_a_job_with_the_metadata_beside_its_images(client: TestClient) -> None:
    archive = tar_of(
        {
            "pets/cat.png": noise(1),
            "pets/cat.json": b'{"id": "tom", "metadata": {"age": 3}}',
            "notes.txt": b"no image",
            "big.png": noise(3, (200, 200)),
        }
    )
    page = ended(client, send_tar(client, archive))
    assert [(one["file"], one["status"]) for one in page["outcomes"]] == [
        ("pets/cat.png", "created"),
        ("notes.txt", "failed"),
        ("big.png", "failed"),
    ]
    assert client.get(f"{IMAGES}/tom").json()["metadata"] == {
        "file": {"name": "cat.png", "folder": "pets"},
        "age": 3,
    }
    again = ended(client, send_tar(client, archive))["job"]
    assert (again["counts"]["unchanged"], again["counts"]["failed"]) == (1, 2)
    assert client.delete(again["links"]["self"]).json() == again  # it has ended
    other = tar_of({"cat.png": noise(2), "cat.json": b'{"id": "tom"}'})
    for params, status in (({}, "failed"), ({"replace": "true"}, "replaced")):
        page = ended(client, send_tar(client, other, **params))
        assert [one["status"] for one in page["outcomes"]] == [status]


@pytest.mark.parametrize(
    ("archive", "status"),
    [
        (b"no tar at all" * 100, 400),
        (tar_of({".hidden": b"x"}), 422),
        (tar_of({f"{i}.png": b"" for i in range(31)}), 413),
    ],
)
def test_unreadable_archive_is_rejected_as_a_whole(
    client: TestClient, folder: Path, archive: bytes, status: int
) -> None:
    before = len(client.get("/jobs").json()["jobs"])
    assert send_tar(client, archive).status_code == status
    assert len(client.get("/jobs").json()["jobs"]) == before
    assert list((folder / "data" / "jobs").iterdir()) == []


def test_invalid_long_forms_leave_no_files(client: TestClient, folder: Path) -> None:
    payloads = [noise(i) for i in range(6)]
    assert send(client, *payloads, items=[{}]).json()["item"] == "items"
    assert send(client, *([b"x"] * 33)).status_code == 413
    assert send(client, *([b"x"] * 31)).json()["item"] == "images"
    cut = client.post(IMAGES, content=b"--b\r\n", headers={"content-type": "multipart/form-data; boundary=b"})
    assert cut.status_code == 400
    absent = client.post("/collections/absent/images", files=files_of(payloads))
    assert absent.status_code == 404
    assert list((folder / "data" / "jobs").iterdir()) == []


def events(client: TestClient, path: str, **headers: str) -> list[dict[str, str]]:
    """Return all events of a stream that ends."""
    found: list[dict[str, str]] = []
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in answer.read().decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            if "event" in fields:
                found.append(fields)
    return found


def test_events_have_every_outcome_once_and_the_end(client: TestClient) -> None:
    accepted = send_tar(client, tar_of({f"{i:02}.png": noise(i) for i in range(30)}))
    path = accepted.json()["links"]["events"]
    told = events(client, path)
    outcomes = [json.loads(one["data"]) for one in told if one["event"] == "outcome"]
    assert [one["index"] for one in outcomes] == list(range(30))
    assert [int(one["id"]) for one in told if one["event"] == "outcome"] == list(range(30))
    assert {one["status"] for one in outcomes} == {"created"}
    assert told[-1]["event"] == "end"
    assert json.loads(told[-1]["data"])["state"] == "done"
    rest = [one for one in events(client, path, **{"last-event-id": "27"}) if one["event"] == "outcome"]
    assert [int(one["id"]) for one in rest] == [28, 29]
    assert len([one for one in events(client, f"{path}?after=9") if one["event"] == "outcome"]) == 20
    assert client.get(path, headers={"last-event-id": "x"}).status_code == 422
    assert client.get(f"{path}?after={2**70}").status_code == 422
    assert (client.head(path).status_code, client.head(path).content) == (200, b"")


def test_outcomes_come_in_pages(client: TestClient) -> None:
    job = ended(client, send(client, *(noise(i) for i in range(7))))["job"]
    pages, after = [], -1
    while after is not None:
        page = client.get(job["links"]["outcomes"], params={"after": after, "limit": 3}).json()
        pages.append([one["index"] for one in page["outcomes"]])
        after = page["next"]
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


def test_unknown_job_is_a_404_everywhere(client: TestClient) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/outcomes"), ("GET", "/events")):
        assert client.request(method, f"/jobs/absent{path}").status_code == 404
