"""A server that is killed while people review keeps each verdict that it acknowledged."""

import random
import threading
from pathlib import Path

import httpx

from durability.test_kills import FIXED
from support.fixtures import model_repo_fixture
from support.image_requests import add_images
from support.pictures import noise
from support.warm_server import WarmServer, WarmServers

N_KILLS, N_IMAGES, SEED = 3, 12, 20261201
LABELS = ["red", "green", "blue"]
SET = "/collections/pets/label-sets/kind"

model_repo = model_repo_fixture({"precisions": {"fp32": "equal", "int8": "rounded"}})


def review(
    client: httpx.Client, server: WarmServer, draw: random.Random, said: dict[str, str]
) -> dict[str, str]:
    """Give verdicts until the server is killed; note in `said` what it acknowledged.

    Returns what it was asked last, which it may have stored or not.
    """
    kill = threading.Timer(draw.uniform(0.02, 0.2), server.kill)
    kill.start()
    while True:
        one = {"id": f"noise-{draw.randrange(N_IMAGES)}", "label": draw.choice(LABELS)}
        try:
            answer = client.post(f"{SET}/verdicts", json={"verdicts": [one]})
        except httpx.TransportError:
            return {one["id"]: one["label"]}
        assert answer.status_code == 200, answer.text
        (given,) = answer.json()["verdicts"]
        before = [] if given["before"] is None else given["before"]["labels"]
        assert before == ([said[one["id"]]] if one["id"] in said else [])
        said[one["id"]] = one["label"]


def verdicts(client: httpx.Client) -> dict[str, str]:
    page = client.get(f"{SET}/images").json()
    assert page["total"] == N_IMAGES
    return {image["id"]: image["labels"][0] for image in page["images"] if image["by"] == "person"}


def test_acknowledged_verdicts_survive_kills(warm: WarmServers, tmp_path: Path) -> None:
    draw, said, unsure = random.Random(SEED), dict[str, str](), dict[str, str]()
    for life in range(N_KILLS + 1):
        server = warm.start(tmp_path, *FIXED)
        url = server.url_when_ready()
        assert url is not None, server.log_file.read_text()
        with httpx.Client(base_url=url) as client:
            if life == 0:
                client.post("/collections", json={"name": "pets"})
                items = [{"id": f"noise-{n}"} for n in range(N_IMAGES)]
                payloads = [noise(n) for n in range(N_IMAGES)]
                assert add_images(client, "/collections/pets/images", *payloads, items=items).is_success
                assert client.put(SET, json={"labels": LABELS}).is_success
            found = verdicts(client)
            assert found in (said, said | unsure)
            said = found
            if life < N_KILLS:
                unsure = review(client, server, draw, said)
        server.kill()
        server.wait()
    assert said
