"""Self-hosted image-text embedding server."""

import os

__version__ = "0.2.0"

# onnxruntime's builds for Linux send telemetry to Microsoft unless this is set before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
