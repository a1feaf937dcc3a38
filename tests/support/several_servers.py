"""Several servers on one PostgreSQL database, each with its own data folder and all with one of originals."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.server import RunningServer, serve
from support.tiny_bundle import TINY


class Unavailable(Exception):
    """A server, or the proxy before it, answers that it has no answer for now."""


@dataclass(frozen=True)
class Caller:
    """A caller of the servers: of one of them, or of a proxy before them."""

    client: httpx.Client

    def ask(self, method: str, path: str, or_status: Sequence[int] = (), **request: Any) -> httpx.Response:
        """Send a request; require success or one of the statuses. Raises Unavailable: no answer for now."""
        answer = self.client.request(method, path, **request)
        if answer.status_code in {502, 503, 504}:
            raise Unavailable(answer.text)
        assert answer.is_success or answer.status_code in or_status, answer.text
        return answer

    def add(
        self, collection: str, *pictures: tuple[str, bytes], kind: str = "", replace: bool = False
    ) -> None:
        """Add pictures by their ids, with a `kind` in their metadata; return when they are acknowledged."""
        added = self.ask(
            "POST",
            f"/collections/{collection}/images",
            files=[("image", (id, payload, "image/png")) for id, payload in pictures],
            data={"items": json.dumps([{"id": id, "metadata": {"kind": kind}} for id, _ in pictures])},
            params={"replace": str(replace).lower()},
        )
        assert all(one["status"] != "failed" for one in added.json()["outcomes"]), added.text

    def search(self, collection: str, k: int = 100, **search: Any) -> dict[str, Any]:
        """The answer to a search by a text."""
        request = {"query": {"text": "red"}, "collections": [collection], "k": k, **search}
        found: dict[str, Any] = self.ask("POST", "/search", json=request).json()
        return found

    def find(self, collection: str, k: int = 100, **search: Any) -> list[str]:
        """The ids of the images that a search by a text finds."""
        return [hit["id"] for hit in self.search(collection, k, **search)["hits"]]

    def cosines(self, collection: str) -> dict[str, float]:
        """The cosines of the images to a text."""
        return {hit["id"]: hit["cosine"] for hit in self.search(collection)["hits"]}

    def rollout(self, id: str) -> dict[str, Any]:
        """A rollout as this server shows it."""
        shown: dict[str, Any] = self.ask("GET", f"/rollouts/{id}").json()
        return shown

    def active_version(self) -> int:
        """The number of the version that serves."""
        (model,) = self.ask("GET", "/models").json()["models"]
        return int(model["active"])

    def n_images(self, collection: str) -> int:
        """The number of images that the server counts."""
        return int(self.ask("GET", f"/collections/{collection}").json()["n_images"])


@dataclass(frozen=True)
class Replica(Caller):
    """One of the servers, and a client of it."""

    server: RunningServer


@dataclass(frozen=True)
class Common:
    """What the servers have in common: model repository, database, originals.

    `bucket`: the address of originals in an object store, which `environment` has the key of.
    """

    model_repo: Path
    url: str
    folder: Path
    bucket: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def originals(self) -> Path:
        """The folder of the originals."""
        return self.folder / "originals"

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of each server."""
        self.originals.mkdir(exist_ok=True)
        return ("--store", self.url, "--originals", self.bucket or f"file://{self.originals}")

    @contextmanager
    def replica(
        self, name: str, *more: str, constants: Mapping[str, float] | None = None
    ) -> Iterator[Replica]:
        """Run a server whose data folder has this name, with `more` flags."""
        with (
            serve(
                *(self.model_repo, TINY, self.folder / name, *self.flags, *more),
                environment=self.environment,
                constants=constants,
            ) as server,
            httpx.Client(base_url=server.url, timeout=30) as client,
        ):
            yield Replica(client, server)

    @contextmanager
    def replicas(self, n: int) -> Iterator[list[Replica]]:
        """Run n servers."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.replica(f"data{i}")) for i in range(n)]
