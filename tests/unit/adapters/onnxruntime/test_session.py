"""Sessions on the CPU share the memory of what they compute."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from support.child_python import python_path

N_NUMBERS = 16 << 20  # of float32: 64 MiB, which each run of the graph needs twice
N_SESSIONS = 6
MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from diptych.adapters.onnxruntime.session import open_session

def resident_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024

file, n_sessions = Path(sys.argv[1]), int(sys.argv[2])
before = resident_mb()
sessions = [open_session(file, n_threads=1, device="cpu") for _ in range(n_sessions)]
for session in sessions:
    session.run(None, {"x": np.ones(1, np.float32)})
print(resident_mb() - before)
"""


def write_graph(file: Path) -> None:
    """Write a graph that makes a large array of its input, and returns its sum."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [N_NUMBERS])
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["large"]),
        helper.make_node("Exp", ["large"], ["other"]),
        helper.make_node("ReduceSum", ["other"], ["y"]),
    ]
    numbers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "large", numbers[:1], numbers[1:], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, file)


def grown_mb(file: Path, n_sessions: int) -> float:
    """Return the memory that a process with so many sessions takes, after a run of each."""
    command = [sys.executable, "-c", MEASURE, str(file), str(n_sessions)]
    environment = os.environ | {"PYTHONPATH": python_path()}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def test_sessions_that_run_in_turn_take_the_memory_of_one(tmp_path: Path) -> None:
    write_graph(tmp_path / "graph.onnx")
    one = grown_mb(tmp_path / "graph.onnx", 1)
    assert one > 60  # the array
    assert grown_mb(tmp_path / "graph.onnx", N_SESSIONS) < 1.5 * one
