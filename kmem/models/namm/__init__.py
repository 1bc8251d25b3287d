"""NAMM: a small network that says of every token in a KV cache whether to keep it, from how it was read so far (arXiv 2410.13166)."""
