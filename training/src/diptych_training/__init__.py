"""CLIP training for diptych: data sets, training runs, evaluation, and export of bundles that are checked.

In: images with texts and a recipe (TOML). Out: a run folder with checkpoints, and from it a model bundle that
the server loads. Read `cli` for the commands, then `train/command.py` for the way of a run.
"""

import diptych  # imported first: it turns off onnxruntime's telemetry

__version__ = "0.2.0"
__all__ = ["diptych"]
