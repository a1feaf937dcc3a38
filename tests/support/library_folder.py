"""The folder of a library of pictures, and the server that follows it."""

import os
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi.testclient import TestClient

COLLECTION = "/collections/photos"
WITHIN_S = 30


class Folder:
    """A library's folder, and the server that follows it."""

    def __init__(self, root: Path, client: TestClient) -> None:
        self.root = root
        self.client = client

    def write(self, path: str, payload: bytes, age_s: float = 60) -> None:
        """Write a file that was modified a while ago."""
        self.write_old(self.root / path, payload, age_s)

    @staticmethod
    def write_old(file: Path, payload: bytes, age_s: float = 60) -> None:
        """As `write`, anywhere."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(payload)
        os.utime(file, (time.time() - age_s,) * 2)

    def scanned(self, **params: Any) -> dict[str, Any]:
        """Have the library scanned; return it once that has ended."""
        asked = self.client.post("/libraries/photos/scan", params=params)
        assert (asked.status_code, asked.json()["state"]) == (202, "scanning")
        deadline = time.monotonic() + WITHIN_S
        while (found := self.library())["state"] == "scanning":
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def waiting(self, reason: str) -> dict[str, Any]:
        """The library once it waits, for a reason that has this text."""
        return self.until(lambda library: reason in library["reason"])

    def until(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The library once something is so, without a scan that is asked for."""
        deadline = time.monotonic() + WITHIN_S
        while not is_so(found := self.library()):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    def library(self) -> dict[str, Any]:
        (found,) = self.client.get("/libraries").json()["libraries"]
        return dict(found)

    def images(self) -> dict[str, dict[str, Any]]:
        """The images by the path that their metadata name."""
        found = self.client.get(f"{COLLECTION}/images").json()["images"]
        return {
            str(PurePosixPath(file["folder"], file["name"])): one
            for one in found
            for file in [one["metadata"]["file"]]
        }

    def hits(self, query: str = "red", **options: Any) -> set[str]:
        """The ids that a search finds."""
        asked = {"query": {"text": query}, "collection": "photos", "k": 50} | options
        found = self.client.post("/search", json=asked)
        assert found.status_code == 200, found.text
        return {hit["id"] for hit in found.json()["hits"]}
