"""CLIP training, evaluation and proven export for diptych."""

import diptych  # first: it keeps onnxruntime from reporting to its maker

__version__ = "0.1.0"
__all__ = ["diptych"]
