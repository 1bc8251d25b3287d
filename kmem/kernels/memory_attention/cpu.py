"""On a CPU: generated tokens take the compiled path, prompts take torch's operations."""

from kmem.kernels.memory_attention import dense, step
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """Whichever is made for segments of this width."""
    widest = max(last - first for first, last in zip(segments.first, segments.last, strict=True))
    return step.prepare(memory, segments) if widest == 1 else dense.prepare(memory, segments)
