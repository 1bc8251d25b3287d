"""On a CPU: a path for generated tokens, a path for prompts, and one for memories that are being learnt."""

from kmem.kernels.memory_attention import dense
from kmem.kernels.memory_attention.context import is_learning
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """Whichever is made for segments of this width."""
    if is_learning(memory.bracket_key, memory.bracket_value, *memory.slots.decoded()):
        return dense.prepare(memory, segments)
    from kmem.kernels.memory_attention import prompt, step  # numba takes half a second to import, and only reading on a CPU needs it

    widest = max(last - first for first, last in zip(segments.first, segments.last, strict=True))
    return step.prepare(memory, segments) if widest == 1 else prompt.prepare(memory, segments)
