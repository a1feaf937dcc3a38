"""Wait until a server says what became of its TensorRT engines. Knows no server."""

import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.gpu_check.findings import Finding, failed

TIER = "tensorrt"
POLL_S = 0.5

States = Sequence[
    Mapping[str, str] | None
]  # of each precision: `state` and `reason`; None where not asked for


def wait_for_engines(
    states: Callable[[], States], name: str, until: float, sleep: Callable[[float], object] = time.sleep
) -> Finding:
    """Once all serve, or one never will, or it is `until`, of time.time(). Seconds are from now on."""
    began = time.monotonic()
    while True:
        now = states()
        if not now or None in now:
            return failed(TIER, name, "the server was not asked for TensorRT")
        found = [one for one in now if one is not None]
        if reasons := [one["reason"] for one in found if one["state"] == "unavailable"]:
            return failed(TIER, name, "; ".join(reasons))
        if all(one["state"] == "serving" for one in found):
            return Finding(TIER, "made", name, {"seconds": time.monotonic() - began}, ok=True)
        if time.time() > until:
            return failed(TIER, name, f"still building after {time.monotonic() - began:.0f} s")
        sleep(POLL_S)
