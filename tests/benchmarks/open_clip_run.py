"""Runs open_clip's own trainer, in its own environment, on pairs in their given order.

    python open_clip_run.py REPORT.json CONFIG_FOLDER [arguments of open_clip_train.main]

Its trainer is changed in two things: pairs come in the order of the table, so that both trainers see the same
batches, and every step is noted (its own log rounds). Knows nothing of this repository: it is run by path.
"""

import json
import sys
from pathlib import Path
from typing import Any

import open_clip
import open_clip_train.data
import open_clip_train.main
import open_clip_train.train
from torch.utils.data import DataLoader


class NotedMeter(open_clip_train.train.AverageMeter):  # type: ignore[misc]
    """Their meter, which keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []
        METERS.append(self)

    def update(self, val: float, n: int = 1) -> None:
        super().update(val, n)
        self.noted.append(float(val))


METERS: list[NotedMeter] = []


def main(report: str, configs: str, arguments: list[str]) -> None:
    open_clip.add_model_config(Path(configs))
    open_clip_train.train.AverageMeter = NotedMeter
    open_clip_train.data.DataLoader = _in_order
    open_clip_train.main.main(arguments)
    # In the order in which their loop makes them: batch time, data time, and the loss once there is one.
    batch_time, _, *losses = METERS
    found = {"seconds": batch_time.noted, "losses": losses[0].noted}
    Path(report).write_text(json.dumps(found), encoding="utf-8")


def _in_order(*args: Any, **settings: Any) -> DataLoader[Any]:
    return DataLoader(*args, **{**settings, "shuffle": False, "pin_memory": False})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
