"""CLIP training, evaluation and proven export for diptych."""

__version__ = "0.1.0"
