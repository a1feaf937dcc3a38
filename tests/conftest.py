"""What every test may rely on, however the run was started."""

import asyncio
import inspect
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import diptych  # noqa: F401  (before onnxruntime, which it keeps from reporting its use)

# A run in the background of a shell ignores Ctrl-C, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Long tests that are campaigns: each kind has a command of its own (`make kills`, ...).
CAMPAIGNS = {
    "rollouts": ("integration/rollout/test_requests.py", "durability/test_rollout_kills.py"),
    "kills": (
        "durability/",
        "integration/store/test_backup_killed.py",
        "integration/store/test_backup_of_server.py",
    ),
    "conformance": (
        "parity/test_import_",
        "e2e/test_import_",
        "unit/training/importing/open_clip/test_architectures.py",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the long tests of a campaign by its name."""
    for item in items:
        place = str(item.path.relative_to(Path(__file__).parent))
        if item.get_closest_marker("long") is not None:
            for campaign, places in CAMPAIGNS.items():
                if place.startswith(places):
                    item.add_marker(campaign)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function in an event loop of its own."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    asyncio.run(test(**{name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}))
    return True


@pytest.fixture(scope="module")
def curves_undrawn() -> Iterator[None]:
    """Runs of this module leave their curves empty: drawing them takes far longer than a few tiny steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diptych_training.train.loop.draw_curves", lambda series, title: b"")
        yield


@pytest.fixture(autouse=True)
def without_openvino_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide OpenVINO's plugin from this process, so that tests find the same precisions on all processors."""
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", None)
