"""A server on a small disk, with a journal of what it has acknowledged."""

import json
import signal
from typing import Any

import httpx

from durability.inspect_server import settle_all
from durability.journal import Held, Images, Journal, Kept
from durability.small_disk import SmallDisk
from integration.store_parts import tiny_png
from support.warm_server import WarmServer, WarmServers


class Running:
    """A server whose data folder is on the small disk, and its journal."""

    def __init__(self, warm: WarmServers, disk: SmallDisk, *flags: str) -> None:
        self._warm = warm
        self._flags = flags
        self.data_dir = disk.folder / "data"
        self.log_file = disk.folder.with_name("server.log")
        self.journal = Journal({"default": Held("default", {})})
        self.n = 0
        self.start()

    def start(self) -> None:
        """Start the server and check that all acknowledged content is there."""
        self.server = self.begin()
        url = self.server.url_when_ready()
        assert url is not None, self.log_file.read_text()
        self.http = httpx.Client(base_url=url, timeout=30, verify=False)
        self.finish_embedding()

    def begin(self) -> WarmServer:
        """Start the server without waiting until it is ready."""
        return self._warm.start(self.data_dir, *self._flags, log_file=self.log_file)

    def stop(self) -> None:
        self.http.close()
        self.server.kill(signal.SIGTERM)
        assert self.server.wait() == 0, self.log_file.read_text()

    def kill(self) -> None:
        self.http.close()
        self.server.kill()
        self.server.wait()

    def finish_embedding(self) -> None:
        settle_all(str(self.http.base_url), self.data_dir, self.journal, ["default"], thorough=True)

    def add(self, n_images: int = 1, metadata: Any = None) -> httpx.Response:
        """Add the next pictures, and record them in the journal if the server accepts them."""
        fresh = {f"i{n}": Kept(tiny_png(n), metadata or {}) for n in range(self.n, self.n + n_images)}
        self.n += n_images
        items = json.dumps([{"id": id, "metadata": kept.metadata} for id, kept in fresh.items()])
        files = [("image", (id, kept.payload, "image/png")) for id, kept in fresh.items()]
        answer = self.http.post("/collections/default/images", files=files, data={"items": items})
        if answer.is_success:
            self._acknowledge({**self._images(), **fresh})
        return answer

    def delete(self, id: str) -> httpx.Response:
        answer = self.http.delete(f"/collections/default/images/{id}")
        if answer.is_success:
            self._acknowledge({i: kept for i, kept in self._images().items() if i != id})
        return answer

    def delete_matching(self, filter: Any) -> httpx.Response:
        """Delete all images that match the filter, and record the others in the journal."""
        answer = self.http.post("/collections/default/deletions", json={"filter": filter})
        if answer.is_success:
            (key,) = filter
            self._acknowledge({i: kept for i, kept in self._images().items() if key not in kept.metadata})
        return answer

    def _images(self) -> Images:
        held = self.journal.acknowledged["default"]
        assert held is not None
        return held.images

    def _acknowledge(self, images: Images) -> None:
        self.journal.acknowledged["default"] = Held("default", images)


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:diptych:error:")
