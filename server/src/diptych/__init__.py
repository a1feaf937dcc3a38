"""Self-hosted image-text embedding server."""

__version__ = "0.1.0"
