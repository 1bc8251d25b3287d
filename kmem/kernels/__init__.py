"""Tensor kernels: naive float32 torch kept for ever, fast ones beside it. Knows nothing above tensors."""
