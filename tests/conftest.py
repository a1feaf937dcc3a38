"""What every test may rely on, however the run was started."""

import signal

import diptych  # noqa: F401  (before onnxruntime, which it keeps from reporting its use)

# A run in the background of a shell ignores Ctrl-C, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
