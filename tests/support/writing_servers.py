"""Writers of several servers on one database, which ask all of them for what was acknowledged."""

import random
import threading
from contextlib import suppress
from typing import Any

import httpx

from support.callers import wait_until
from support.pictures import noise
from support.several_servers import Replica

UNSURE = (httpx.TransportError, AssertionError)  # no answer, or 503 in place of one


class Load:
    """Adds and deletes pictures by each server, and asks the others at once for what was acknowledged."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.kept, self.deleted = set[str](), set[str]()
        self.numbers = dict[str, int]()  # of the pictures, by id
        self.wrong = list[str]()
        self.killed = set[str]()  # addresses
        self.stops = threading.Event()
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()

    def run(self, own: int, seed: int) -> None:
        """Write by one server until it is killed, or all is stopped."""
        rng, replica = random.Random(seed), self.replicas[own]
        while not self.stops.is_set() and replica.server.url not in self.killed:
            with self._lock:
                id = f"i{next(self._numbers)}"
                self.numbers[id] = seed * 10_000 + len(self.kept)
            try:
                replica.add("pets", (id, noise(self.numbers[id])), kind=id)
            except UNSURE:
                continue
            self.kept.add(id)
            self._ask(rng, id, is_there=True)
            if rng.random() < 0.3:
                self._delete(rng, replica)

    def found(self, replica: Replica, **search: Any) -> list[str]:
        """The ids that a search finds."""
        return replica.find("pets", k=1_000, **search)

    def _delete(self, rng: random.Random, replica: Replica) -> None:
        """Delete one of the pictures. Whether it is there is not known if there is no answer."""
        with self._lock:
            id = rng.choice(sorted(self.kept))
            self.kept.discard(id)
        with suppress(httpx.TransportError):
            if replica.client.delete(f"/collections/pets/images/{id}").status_code == 204:
                self.deleted.add(id)
                self._ask(rng, id, is_there=False)

    def _ask(self, rng: random.Random, id: str, *, is_there: bool) -> None:
        """Ask a server for a picture, by a filter or among all."""
        other = rng.choice(self.replicas)
        search = {"filter": {"kind": id}} if rng.random() < 0.5 else {}
        try:
            found = self.found(other, **search)
        except UNSURE:
            return
        if (id in found) != is_there and (id in self.kept or not is_there):  # else it is deleted meanwhile
            self.wrong.append(f"{id} is {'missing' if is_there else 'found'} by {other.server.url}, {search}")


def written_more(load: Load, n: int) -> None:
    """Wait until more pictures were acknowledged."""
    before = len(load.kept) + 2 * len(load.deleted)
    wait_until(lambda: len(load.kept) + 2 * len(load.deleted) >= before + n, within_s=60)
