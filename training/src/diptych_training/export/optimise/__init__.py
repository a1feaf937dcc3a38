"""Rewrite a float32 graph so that it runs faster, step by step, each step checked; knows nothing of towers.

Only what is portable may become part of a published graph: standard operators, nothing chosen for this
machine. What is not portable (fusions into onnxruntime's own operators, memory layouts for this processor),
onnxruntime does itself whenever it loads a graph, for the machine that it then runs on.
"""

from diptych_training.export.optimise.candidates import FLOAT32, PORTABLE, Candidate
from diptych_training.export.optimise.run import Step, optimise

__all__ = ["FLOAT32", "PORTABLE", "Candidate", "Step", "optimise"]
