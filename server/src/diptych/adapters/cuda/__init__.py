"""NVIDIA's CUDA runtime: which GPU there is, its memory and streams, and the lock that CUDA graphs need.

Read `device` first; `capture_lock` explains why calls of a GPU wait while a CUDA graph is captured.
"""
