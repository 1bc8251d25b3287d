"""Networks that are ours. Know kernels, nothing above."""
