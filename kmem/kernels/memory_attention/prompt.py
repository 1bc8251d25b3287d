"""Prompts on a CPU: torch's kernel reads bracket and context, and the slots join by matrix products.

With calibrated budgets most heads have no slots at all: nothing more is done for them.
"""

from torch import Tensor

from kmem.kernels.memory_attention import dense
from kmem.kernels.memory_attention.bracketed import bracketed_attention
from kmem.kernels.memory_attention.context import is_learning
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """For segments of any width; whatever needs a gradient goes to `dense` as a whole."""
    return _Prompt(memory, segments)


class _Prompt:
    def __init__(self, memory: LayerMemory, segments: Segments) -> None:
        self._memory, self._segments = memory, segments
        with_slots = [head for head, slots in enumerate(memory.budget) if slots]
        self._slots = dense.Merging(memory, segments, with_slots, bracket=False)

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        if is_learning(query, key, value):
            whole = dense.prepare(self._memory, self._segments)
            return whole(query, key, value, context_mask, scaling=scaling, softcap=softcap)
        context, lse = bracketed_attention(self._memory, self._segments, query, key, value, context_mask, scaling=scaling, softcap=softcap)
        output, mass = self._slots.join(query, context, lse, scaling=scaling, softcap=softcap)
        return output.to(query.dtype), mass
