"""The loop of label sets with the default model: review some pictures of eight kinds, refresh, apply again.

    PYTHONPATH=tests python -m benchmarks.label_loop [--pictures N] [--reviewed N] [--write FILE]

Once in the order that is proposed, once at random; what the pictures show plays the person. Each is one run
of `diptych-train refresh --push`. Takes a quarter of an hour of processor time.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.report import OtherPrograms, conditions, finish, parser, run, say, table
from benchmarks.servers import REPOSITORY, diptych, modules_of, running
from diptych_client import Accuracy, Client
from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.drawn_labels import Pressed, add_drawn, kind_of, labelled, review, review_at_random

MARKS, KEY = "bench-label-loop", "loop-of-the-benchmark"
COLLECTION, KIND, NAME = "symbols", "kind", "mine"
ORDERS = ("as proposed", "at random")
SEED = 0


@dataclass(frozen=True)
class Loop:
    """One loop: keys that were pressed, and whether the model was right on each picture, before and after.

    `estimate`: what the server said of its accuracy between the review and the refresh.
    """

    pressed: Pressed
    before: dict[str, bool]
    after: dict[str, bool]
    estimate: Accuracy
    seconds: float

    def share(self, right: dict[str, bool], without: Collection[str]) -> str:
        """How many pictures are right, of those that are not in `without`."""
        rest = [is_right for id, is_right in right.items() if id not in without]
        return f"{sum(rest)} of {len(rest)} ({sum(rest) / len(rest):.2f})"


def main() -> int:
    """Run both loops, and write the table."""
    flags = parser(__doc__)
    flags.add_argument("--pictures", type=int, default=300, metavar="N")
    flags.add_argument("--reviewed", type=int, default=60, metavar="N")
    args = flags.parse_args()
    others = OtherPrograms()
    loops = {order: _loop(order, args.pictures, args.reviewed) for order in ORDERS}
    command = f"python -m benchmarks.label_loop --pictures {args.pictures} --reviewed {args.reviewed}"
    what = f"{args.pictures} drawn pictures of eight kinds, {args.reviewed} reviewed; one run each."
    finish(f"{conditions(command)} {others.said()} {what}\n\n{_table(loops)}\n", args.write, MARKS)
    return 0


def _loop(order: str, n_pictures: int, n_reviewed: int) -> Loop:
    with tempfile.TemporaryDirectory(prefix="diptych-loop-") as name:
        folder = Path(name)
        program = diptych(
            _repository(folder / "served"), DEFAULT_MODEL, folder / "data", "--precision", "fp32",
            name="label-loop",
        )  # fmt: skip
        program = replace(program, environment={**program.environment, "DIPTYCH_API_KEY": KEY})
        with running(program) as server, Client(f"http://127.0.0.1:{server.port}", KEY) as client:
            labels = add_drawn(client, COLLECTION, folder / "pictures", n_pictures)
            client.put_label_set(COLLECTION, KIND, labels)
            before = _right(client)
            pressed = (
                review(client, COLLECTION, KIND, n_reviewed)
                if order == ORDERS[0]
                else review_at_random(client, COLLECTION, KIND, n_reviewed, SEED)
            )
            estimate = client.label_set(COLLECTION, KIND).accuracy
            say(f"{order}: {len(pressed.ids)} reviewed, {pressed.n_space} of them by space")
            began = time.perf_counter()
            _refresh(client.url, folder)
            return Loop(pressed, before, _right(client), estimate, time.perf_counter() - began)


def _refresh(url: str, folder: Path) -> None:
    command = ["refresh", "--collection", f"{url}/collections/{COLLECTION}", "--label-set", KIND]
    command += ["--name", NAME, "--push", "--model-repo", str(_repository(folder / "own"))]
    environment = {**os.environ, **modules_of(REPOSITORY), "DIPTYCH_API_KEY": KEY}
    subprocess.run(
        [sys.executable, "-m", "diptych_training", *command, "--runs-dir", str(folder / "runs")],
        check=True,
        env={**environment, "DIPTYCH_CACHE": str(folder / "cache")},
    )


def _repository(folder: Path) -> Path:
    """A repository that has the default model."""
    shutil.copytree(MODEL_REPO / DEFAULT_MODEL, folder / DEFAULT_MODEL)
    return folder


def _right(client: Client) -> dict[str, bool]:
    """Whether the model gives each picture the label of what it shows."""
    images = labelled(client, COLLECTION, KIND)
    return {image.id: image.proposed == (kind_of(image.id),) for image in images}


def _table(loops: dict[str, Loop]) -> str:
    found = list(loops.values())
    seen = {id for loop in found for id in loop.pressed.ids}
    unseen, neither = "right on pictures not reviewed", "right on pictures reviewed in neither order"
    rows = [
        ["keys pressed: space", *(str(loop.pressed.n_space) for loop in found)],
        ["keys pressed: a number", *(str(loop.pressed.n_number) for loop in found)],
        [f"{unseen}, before", *(loop.share(loop.before, loop.pressed.ids) for loop in found)],
        [f"{unseen}, after", *(loop.share(loop.after, loop.pressed.ids) for loop in found)],
        [f"{neither}, before", *(loop.share(loop.before, seen) for loop in found)],
        [f"{neither}, after", *(loop.share(loop.after, seen) for loop in found)],
        ["`accuracy` before the refresh", *(_interval(loop.estimate) for loop in found)],
        ["minutes of `refresh --push`", *(f"{loop.seconds / 60:.1f}" for loop in found)],
    ]
    return table(["reviewed", *loops], rows)


def _interval(accuracy: Accuracy) -> str:
    low, high = accuracy.interval or (0.0, 1.0)
    return f"{accuracy.n_agree} of {accuracy.n}: {low:.2f} to {high:.2f}"


if __name__ == "__main__":
    run(main)
