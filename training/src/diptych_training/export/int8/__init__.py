"""From a float32 ONNX graph to an int8 one: fast on a CPU, and an item's row is the same in any company."""

from diptych_training.export.int8.report import Int8Report
from diptych_training.export.int8.write import write_int8

__all__ = ["Int8Report", "write_int8"]
