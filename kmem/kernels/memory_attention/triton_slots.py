"""Slots inside a kernel: how each kind is handed over, and how a block of them is read and decoded."""

from dataclasses import dataclass
from functools import singledispatch

import torch
import triton
import triton.language as tl
from torch import Tensor

from kmem.kernels.memory_attention.layout import PlainSlots, Slots
from kmem.kernels.memory_attention.quantised import Int8Slots, VqSlots
from kmem.kernels.vq_decode.triton import field_table, sum_rows

_PLAIN, _INT8, _VQ = range(3)
PLAIN, INT8, VQ = tl.constexpr(_PLAIN), tl.constexpr(_INT8), tl.constexpr(_VQ)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operands:
    """A layer's slots as a kernel's arguments: the codec's number, the two tensors, and for VQ what turns codes into vectors.

    rows, fields: as `sum_rows` takes them. key_rows, value_rows: [S_l] int32 where each slot's set begins in `rows`.
    """

    codec: int
    key: Tensor
    value: Tensor
    rows: Tensor | None = None
    fields: Tensor | None = None
    key_rows: Tensor | None = None
    value_rows: Tensor | None = None
    field_count: int = 0
    code_bytes: int = 0

    @property
    def quantised(self) -> bool:
        return self.codec != _PLAIN


@singledispatch
def operands(slots: Slots) -> Operands:
    """Raises TypeError for slots that the kernel can't decode."""
    raise TypeError(f"The Triton attention can't read {type(slots).__name__}; give it PlainSlots of its decoded() numbers.")


@operands.register
def _(slots: PlainSlots) -> Operands:
    return Operands(codec=_PLAIN, key=slots.key, value=slots.value)


@operands.register
def _(slots: Int8Slots) -> Operands:
    return Operands(codec=_INT8, key=slots.key, value=slots.value)


@operands.register
def _(slots: VqSlots) -> Operands:
    table = slots.table
    return Operands(
        codec=_VQ,
        key=slots.key,
        value=slots.value,
        rows=table.rows,
        fields=field_table(table),
        key_rows=(slots.key_sets * table.set_rows).to(torch.int32).contiguous(),
        value_rows=(slots.value_sets * table.set_rows).to(torch.int32).contiguous(),
        field_count=len(table.fields),
        code_bytes=table.code_bytes,
    )


@triton.jit  # type: ignore[untyped-decorator]
def read_slots(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    slots,
    place,
    slot,
    seen,
    stride_place,
    stride_slot,
    stride_dim,
    rows,
    fields,
    set_rows,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    CODEC: tl.constexpr,
    FIELDS: tl.constexpr,
    CODE_BYTES: tl.constexpr,
):
    """[n, BLOCK_DIM] vectors of memories `place` [n] int64 at `slot` [n] of the layer; 0 where not `seen`, which is never read."""
    dim = tl.arange(0, BLOCK_DIM)
    begin = slots + place * stride_place + slot.to(tl.int64) * stride_slot
    wanted = seen[:, None] & (dim < DIM)[None, :]
    if CODEC == VQ:
        first_row = tl.load(set_rows + slot, mask=seen, other=0)
        total = sum_rows(begin, stride_dim, rows, fields, first_row, seen, CODE_BYTES, FIELDS, DIM, BLOCK_DIM)
        vectors = total.to(rows.dtype.element_ty)
    elif CODEC == INT8:
        steps = tl.load(begin[:, None] + dim[None, :] * stride_dim, mask=wanted, other=0).to(tl.int8, bitcast=True)
        low = tl.load(begin + DIM * stride_dim, mask=seen, other=0).to(tl.uint16)
        high = tl.load(begin + (DIM + 1) * stride_dim, mask=seen, other=0).to(tl.uint16)
        scale = (low | (high << 8)).to(tl.float16, bitcast=True)
        vectors = (steps.to(tl.float32) * scale.to(tl.float32)[:, None]).to(tl.float16)
    else:
        vectors = tl.load(begin[:, None] + dim[None, :] * stride_dim, mask=wanted, other=0.0)
    return vectors
