"""Fused samplers (Triton), imported only when a process on a CUDA device is drawn.

Run through Triton's interpreter on a CPU, and compiled for sm_80 and sm_90 without a device: they have never
run on a GPU, and no time of theirs is known.
"""
