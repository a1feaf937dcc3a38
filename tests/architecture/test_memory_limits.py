"""The limits of memory hold the default model and all that may wait, by the figures of docs/scaling.md."""

import re

import pytest

from architecture.test_container_files import COMPOSE_FILES
from architecture.test_kubernetes_values import of_kind
from diptych.settings import Settings
from support.documents import DOCS

PAGE = (DOCS / "scaling.md").read_text(encoding="utf-8")
UNITS = {"g": 2**30, "m": 2**20, "Gi": 2**30, "Mi": 2**20, "G": 10**9}
N_ENCODERS = 2  # of images and of texts, each with a queue


def n_bytes(amount: str) -> int:
    """`3g`, `512m`, `3Gi`."""
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", amount).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def needed_bytes() -> int:
    (model_mb,) = re.findall(r"^\| memory, default model after [^|]+ \| (\d+) MB", PAGE, flags=re.MULTILINE)
    waiting = (1 + N_ENCODERS) * Settings.model_fields[
        "max_inflight_body_bytes"
    ].default  # bodies, and queues
    return int(model_mb) * 10**6 + int(waiting)


def of_compose() -> str:
    (default,) = re.findall(r"\{DIPTYCH_MEMORY:-(\w+)\}", COMPOSE_FILES[0].read_text(encoding="utf-8"))
    return str(default)


LIMITS = {"compose": of_compose()} | {
    one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    for one in of_kind("Deployment").values()
}


@pytest.mark.parametrize("place", LIMITS)
def test_limit_holds_the_default_model_and_all_that_may_wait(place: str) -> None:
    assert n_bytes(LIMITS[place]) >= needed_bytes()


def test_pod_asks_for_what_the_default_model_takes_and_no_more_than_its_limit() -> None:
    (model_mb,) = re.findall(r"^\| memory, default model after [^|]+ \| (\d+) MB", PAGE, flags=re.MULTILINE)
    for deployment in of_kind("Deployment").values():
        resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        asked, limit = (n_bytes(resources[kind]["memory"]) for kind in ("requests", "limits"))
        assert int(model_mb) * 10**6 <= asked <= limit
