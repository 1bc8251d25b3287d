"""On a CPU: a path for generated tokens, a path for prompts, and one for memories that are being learnt."""

from kmem.kernels.memory_attention import dense
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """Whichever is made for segments of this width."""
    if any(tensor.requires_grad for tensor in memory.tensors):  # also where no gradient is asked for now: a plan is kept
        return dense.prepare(memory, segments)
    from kmem.kernels.memory_attention import prompt, step  # numba takes half a second to import, and only reading on a CPU needs it

    widest = max(last - first for first, last in zip(segments.first, segments.last, strict=True))
    return step.prepare(memory, segments) if widest == 1 else prompt.prepare(memory, segments)
