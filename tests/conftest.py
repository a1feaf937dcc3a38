"""What every test may rely on, however the run was started."""

import signal
from collections.abc import Iterator

import pytest

import diptych  # noqa: F401  (before onnxruntime, which it keeps from reporting its use)

# A run in the background of a shell ignores Ctrl-C, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def curves_undrawn() -> Iterator[None]:
    """Runs of this module leave their curves empty: drawing them takes far longer than a few tiny steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diptych_training.train.loop.draw_curves", lambda series, title: b"")
        yield
