"""Count the modules of the server that one request passes.

    PYTHONPATH=tests python -m benchmarks.modules_passed [--list]

A module counts if one of its functions is called, in any thread, while the second request of its kind is
answered: a person who follows the request from the middleware to the encoder meets these files.
"""

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from fastapi.testclient import TestClient

import diptych
from support.app import running_app
from support.pictures import picture

SOURCE = f"{Path(diptych.__file__).parent}/"


class Trace:
    """Collects modules inside the block; installed before any thread is started."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self._is_on = False
        threading.setprofile(self._look)

    def __enter__(self) -> None:
        self.modules, self._is_on = set(), True

    def __exit__(self, *error: object) -> None:
        self._is_on = False

    def _look(self, frame: FrameType, event: str, argument: object) -> None:
        if self._is_on and event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            self.modules.add(frame.f_code.co_filename.removeprefix(SOURCE))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--list", action="store_true", help="also print the modules")
    arguments, trace = parser.parse_args(), Trace()

    def classify(client: TestClient) -> None:
        image = ("image", ("a.png", picture("red"), "image/png"))
        labels = {"labels": ["red", "green", "blue"]}
        assert client.post("/classify", files=[image], data=labels).status_code == 200

    def search(client: TestClient) -> None:
        assert client.get("/search", params={"q": "red", "k": 3}).json()["hits"]

    requests: dict[str, Callable[[TestClient], None]] = {"/classify": classify, "/search": search}
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder)) as client:
        image = ("image", ("red.png", picture("red"), "image/png"))
        added = client.post("/collections/default/images", files=[image])
        assert added.status_code == 200, added.text
        for name, ask in requests.items():
            ask(client)
            with trace:
                ask(client)
            print(f"{name}  {len(trace.modules)} modules")
            if arguments.list:
                print(*sorted(trace.modules), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
