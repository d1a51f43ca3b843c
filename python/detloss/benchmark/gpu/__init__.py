"""Measures the CUDA kernels through PyTorch's tensors, without TensorFlow: `python -m detloss.benchmark.gpu`.

A `DeviceCase` is one loss on one size of input. `session` checks that its implementations agree with the CPU's kernels,
then times them in turns: the fused kernels, the same loss in PyTorch, eager and compiled, and the touch-only floor.
"""
