"""From the ONNX graphs of a version to plans that TensorRT builds for the GPU of this machine."""
