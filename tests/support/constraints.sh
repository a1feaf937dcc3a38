#!/usr/bin/env bash
# Reads `pip freeze --all`, writes the constraints: builds that differ by machine (CPU or CUDA) stay out, and what
# environments begin with. setuptools stays: torch and tensorboard require it.
echo '# One known-good set of releases; `make constraints` refreshes it. torch, torchvision, onnxruntime and'
echo '# faiss are left to their ranges: their builds differ by machine.'
grep -E '^[A-Za-z0-9._-]+==' | grep -vE '^(pip|wheel|torch|torchvision|onnxruntime|onnxruntime-gpu|faiss-cpu|faiss-gpu|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' | sort -f
