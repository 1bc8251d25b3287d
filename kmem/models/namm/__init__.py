"""NAMM: a small network that says of every token in a KV cache whether to keep it, from how it was read so far (arXiv 2410.13166)."""

from kmem.models.namm.checkpoint import load_namm, save_namm, shipped_namms
from kmem.models.namm.config import NammConfig
from kmem.models.namm.scorer import Namm, vector, with_vector

__all__ = ["Namm", "NammConfig", "load_namm", "save_namm", "shipped_namms", "vector", "with_vector"]
