"""On a CPU: a path for generated tokens, a path for prompts."""

from kmem.kernels.memory_attention import prompt, step
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """Whichever is made for segments of this width."""
    widest = max(last - first for first, last in zip(segments.first, segments.last, strict=True))
    return step.prepare(memory, segments) if widest == 1 else prompt.prepare(memory, segments)
