"""The same attention on a GPU: one kernel for prefill and decode, whose keys are split among programs when there are few rows."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.memory_attention import dense
from kmem.kernels.memory_attention.context import is_learning
from kmem.kernels.memory_attention.layout import LayerMemory, Segments
from kmem.kernels.memory_attention.triton_attend import attend
from kmem.kernels.memory_attention.triton_merge import merge
from kmem.kernels.memory_attention.triton_plan import Plan, head_starts, longest_run, plan
from kmem.kernels.memory_attention.triton_slots import Operands, operands

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Of query, key and value; scores and sums are float32, so float64 is the reference's."""

_LEAST_SPLIT = 256
"""Keys that are worth a program of their own."""

_ROWS_OF_SHARES = 8192
"""Rows × memories that a program counts the probability of: 32 registers a thread."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Sizes of a program: rows, keys, padded dimension, memories it counts; and how Triton is to compile it."""

    rows: int
    keys: int
    dim: int
    memories: int
    warps: int
    stages: int


@dataclass(frozen=True, kw_only=True)
class Splits:
    """How one row block's keys are shared out: `memories` programs of `each` memories, then `context` ones of `keys` keys."""

    memories: int
    each: int
    context: int
    keys: int

    @property
    def whole(self) -> bool:
        return self.context == 0

    @property
    def programs(self) -> int:
        return self.memories + self.context


def prepare(memory: LayerMemory, segments: Segments) -> "Attention":
    """The slots are read in place at every call. Raises TypeError for slots it can't decode."""
    return Attention(memory=memory, segments=segments, slots=operands(memory.slots))


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """See `Prepared`; deterministic. Raises ConfigError for a type that is not in DTYPES."""

    memory: LayerMemory
    segments: Segments
    slots: Operands

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        if is_learning(query, key, value, *self.memory.tensors):  # the kernel has no backward pass
            return dense.prepare(self.memory, self.segments)(query, key, value, context_mask, scaling=scaling, softcap=softcap)
        return self.launch(query, key, value, context_mask, scaling=scaling, softcap=softcap, output_dtype=query.dtype)

    def launch(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        context_mask: Tensor | None,
        *,
        scaling: float,
        softcap: float | None,
        output_dtype: torch.dtype,
        programs: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As the call, with the output in another type: float32 is what was summed, before it is rounded.

        programs: how many are wanted at least, None = what the device runs at a time.
        """
        if query.dtype not in DTYPES:
            raise ConfigError(f"The Triton attention computes in float32, which is too little for {query.dtype}; use the naive one.")
        batch, query_heads, length, dim = query.shape
        heads, keys = key.shape[1], key.shape[2]
        group = query_heads // heads
        most = self.segments.resident.shape[1]
        rows = group * longest_run(self.segments, length)
        blocks = blocks_for(rows, dim, most, query.element_size(), quantised=self.slots.quantised)
        todo = plan(self.segments, batch, length, group, blocks.rows, query.device)
        largest = max(self.memory.budget, default=0)
        wanted = (programs or _device_programs(query.device)) // (len(todo.work) * heads)
        splits = splits_for(wanted, keys, most, largest, blocks)
        output = torch.empty(batch, length, query_heads, dim, dtype=output_dtype, device=query.device)
        mass = torch.zeros(len(self.segments), todo.parts, heads, most, dtype=torch.float32, device=query.device)
        self._run(query, key, value, context_mask, scaling, softcap, blocks, splits, todo, output, mass)
        return output, mass.sum((1, 2))

    def _run(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        context_mask: Tensor | None,
        scaling: float,
        softcap: float | None,
        blocks: Blocks,
        splits: Splits,
        todo: Plan,
        output: Tensor,
        mass: Tensor,
    ) -> None:
        (_, length, _, dim), heads, device = output.shape, key.shape[1], output.device
        group, keys, most = output.shape[2] // heads, key.shape[2], mass.shape[-1]
        items = len(todo.work)
        scratch = _scratch(items * heads, splits, blocks, dim, device)
        memory, slots = self.memory, self.slots
        bracket_key, bracket_value = memory.bracket_key.contiguous(), memory.bracket_value.contiguous()
        filled = memory.filled.view(torch.uint8)
        mask = None if context_mask is None else context_mask.expand(len(query), 1, length, keys).view(torch.uint8)
        sizes = {"GROUP": group, "DIM": dim, "BLOCK_ROWS": blocks.rows, "BLOCK_DIM": blocks.dim, "BLOCK_MEMORIES": blocks.memories}
        attend[(items, heads, splits.programs)](
            query, *query.stride(), key, *key.stride(), value, *value.stride(),
            mask, *((0, 0, 0) if mask is None else (mask.stride(0), mask.stride(2), mask.stride(3))),
            bracket_key, bracket_value, bracket_key.shape[1],
            slots.key, *slots.key.stride(), slots.value, *slots.value.stride(),
            slots.rows, slots.fields, slots.key_rows, slots.value_rows,
            filled, *filled.stride(), head_starts(memory.budget, device), todo.resident, todo.owned, most, todo.work,
            output, mass, *scratch,
            length, keys, todo.parts, splits.programs, splits.memories, splits.each, splits.keys, scaling, softcap or 0.0,
            MASKED=mask is not None, TRIMMED=length > 1, CAPPED=softcap is not None, WHOLE=splits.whole,
            CODEC=slots.codec, FIELDS=slots.field_count, CODE_BYTES=slots.code_bytes, BLOCK_KEYS=blocks.keys, BLOCK_BRACKET=16,
            **sizes, num_warps=blocks.warps, num_stages=blocks.stages,
        )  # fmt: skip
        if not splits.whole:
            merge[(items, heads)](
                todo.work, output, mass, *scratch, most, length, todo.parts, splits.programs, splits.memories, splits.each, **sizes
            )


def blocks_for(rows: int, dim: int, most: int, element_bytes: int, *, quantised: bool) -> Blocks:
    """Blocks for runs of up to `rows` rows and segments of up to `most` memories, chosen by what compiles for sm_90 without spilling much.

    The stages of keys and values fit the shared memory of an A100 (160 KB) or H100. Unmeasured: no GPU was lent.
    """
    wide = max(16, triton.next_power_of_2(dim))
    memories = max(16, triton.next_power_of_2(most))
    vector = wide * element_bytes
    swift = element_bytes == 2 and vector <= 256
    largest = 128 if swift else 64 if vector <= 512 else 16
    while largest > 16 and largest * memories > _ROWS_OF_SHARES:
        largest //= 2
    size = min(largest, max(16, triton.next_power_of_2(rows)))
    return Blocks(
        rows=size,
        keys=64 if swift and size >= 64 and not quantised else 32,
        dim=wide,
        memories=memories,
        warps=8 if size == 128 or quantised or element_bytes == 4 else 4,
        stages=4 if size == 16 and vector <= 256 else 2,
    )


def splits_for(wanted: int, keys: int, most: int, budget: int, blocks: Blocks) -> Splits:
    """Up to `wanted` programs each for a row block's `keys` keys and its `most` memories of up to `budget` slots; 0 or 1: all in one."""
    context = min(wanted, triton.cdiv(keys, _LEAST_SPLIT))
    if wanted <= 1:
        return Splits(memories=1, each=blocks.memories, context=0, keys=keys)
    each = min(blocks.memories, max(1, _LEAST_SPLIT // max(budget, 1), triton.cdiv(most, wanted)))
    memories = max(1, triton.cdiv(most, each))
    if context + memories <= 2:
        return Splits(memories=1, each=blocks.memories, context=0, keys=keys)
    a_program = triton.cdiv(triton.cdiv(keys, context), blocks.keys) * blocks.keys
    return Splits(memories=memories, each=each, context=triton.cdiv(keys, a_program), keys=a_program)


def _scratch(units: int, splits: Splits, blocks: Blocks, dim: int, device: torch.device) -> tuple[Tensor | None, ...]:
    """tops, norms, totals and remembered of `attend`; nothing when it writes the result itself."""
    if splits.whole:
        return (None, None, None, None)
    lines = units * splits.programs * blocks.rows
    tops, norms = torch.empty(2, lines, dtype=torch.float32, device=device)
    totals = torch.empty(lines, dim, dtype=torch.float32, device=device)
    remembered = torch.empty(units * splits.memories * blocks.rows, blocks.memories, dtype=torch.float32, device=device)
    return tops, norms, totals, remembered


@lru_cache(maxsize=8)
def _device_programs(device: torch.device) -> int:
    """Two for every multiprocessor; one in the interpreter, which runs one after another."""
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
