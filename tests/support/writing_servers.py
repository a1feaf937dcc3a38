"""Writers of several servers on one database, which ask all of them for what was acknowledged."""

import random
import threading

import httpx

from support.callers import wait_until
from support.pictures import noise
from support.several_servers import Caller, Replica, Unavailable

UNSURE = (httpx.TransportError, Unavailable)  # whether it was done
MANY = 200  # images: from then on, one is deleted for each that is added


class Load:
    """Adds and deletes pictures, and asks all servers at once for what was acknowledged."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.kept, self.deleted = set[str](), set[str]()
        self.numbers = dict[str, int]()  # of the pictures, by id
        self.wrong = list[str]()
        self.killed = set[Caller]()
        self.stops = threading.Event()
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()

    def run(self, caller: Caller, seed: int) -> None:
        """Write by one server until it is killed, or by a proxy, until all is stopped."""
        rng = random.Random(seed)
        while not self.stops.is_set() and caller not in self.killed:
            try:
                self._add(rng, caller, seed)
                if rng.random() < 0.3 or len(self.kept) > MANY:
                    self._delete(rng, caller)
            except UNSURE:
                continue
            except AssertionError as error:
                self.wrong.append(f"{error}")

    def found(self, caller: Caller, **search: object) -> list[str]:
        """The ids that a search finds."""
        return caller.find("pets", k=1_000, **search)

    def _add(self, rng: random.Random, caller: Caller, seed: int) -> None:
        with self._lock:
            id = f"i{next(self._numbers)}"
            self.numbers[id] = seed * 10_000 + len(self.kept)
        caller.add("pets", (id, noise(self.numbers[id])), kind=id)
        with self._lock:
            self.kept.add(id)
        self._ask_all(rng, caller, id, is_there=True)

    def _delete(self, rng: random.Random, caller: Caller) -> None:
        """Delete one of the pictures. Whether it is there is not known if there is no answer."""
        with self._lock:
            id = rng.choice(sorted(self.kept))
            self.kept.discard(id)
        again = () if isinstance(caller, Replica) else (404,)  # a proxy asks a second server: it is deleted
        caller.ask("DELETE", f"/collections/pets/images/{id}", or_status=again)
        self.deleted.add(id)
        self._ask_all(rng, caller, id, is_there=False)

    def _ask_all(self, rng: random.Random, caller: Caller, id: str, *, is_there: bool) -> None:
        """Ask the caller's server or proxy and each server for a picture, by a filter or among all."""
        for other in {caller, *self.replicas}:
            self._ask(other, id, {"filter": {"kind": id}} if rng.random() < 0.5 else {}, is_there=is_there)

    def _ask(self, caller: Caller, id: str, search: dict[str, object], *, is_there: bool) -> None:
        try:
            found = self.found(caller, **search)
        except UNSURE:
            return
        if (id in found) != is_there and (id in self.kept or not is_there):  # else it is deleted meanwhile
            state = "missing" if is_there else "found"
            self.wrong.append(f"{id} is {state} by {caller.client.base_url}, {search}")


def written_more(load: Load, n: int) -> None:
    """Wait until more pictures were acknowledged."""
    before = len(load.kept) + 2 * len(load.deleted)

    def are_written() -> bool:
        assert not load.wrong, load.wrong[:3]
        return len(load.kept) + 2 * len(load.deleted) >= before + n

    wait_until(are_written, within_s=60)
