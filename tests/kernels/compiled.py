"""Compile the attention kernels for an H100 on a machine without one: `TRITON_INTERPRET=0 python -m tests.kernels.compiled`."""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kmem.kernels.memory_attention.triton import blocks_for
from kmem.kernels.memory_attention.triton_attend import attend
from kmem.kernels.memory_attention.triton_merge import merge

TARGET = GPUTarget("cuda", 90, 32)
POINTERS = {
    **dict.fromkeys(("query", "key", "value", "output", "bracket_key", "bracket_value"), "*bf16"),
    **dict.fromkeys(("mask", "filled"), "*u8"),
    **dict.fromkeys(("head_starts", "owned", "work", "table_fields", "key_sets", "value_sets"), "*i32"),
    **dict.fromkeys(("mass", "tops", "norms", "totals", "remembered"), "*fp32"),
    **{"resident": "*i64", "table": "*fp16", "scaling": "fp32", "softcap": "fp32"},
}
SLOTS = ("*bf16", "*u8", "*u8")
"""Of PlainSlots, Int8Slots and VqSlots, by the codec's number."""


def compiled(kernel: Any, constants: dict[str, Any], slots: str, warps: int, stages: int) -> str:
    """The machine code's PTX."""
    types = {**POINTERS, "slot_key": slots, "slot_value": slots}
    signature = {item.name: "constexpr" if item.name in constants else types.get(item.name, "i32") for item in kernel.params}
    source = ASTSource(kernel, signature, constants)
    ptx: str = triton.compile(source, target=TARGET, options={"num_warps": warps, "num_stages": stages}).asm["ptx"]
    return ptx


def main() -> None:
    """Raises where one of them does not compile; Memory³-2B's shape, prefill and split decode, every codec, with a mask and without."""
    for codec, slots in enumerate(SLOTS):
        for rows, whole in ((320, True), (5, False)):
            blocks = blocks_for(rows, 80, 5, 2, quantised=codec > 0)
            masked = codec == 0
            sizes = {"GROUP": 5, "DIM": 80, "BLOCK_ROWS": blocks.rows, "BLOCK_DIM": blocks.dim, "BLOCK_MEMORIES": blocks.memories}
            modes = {"MASKED": masked, "TRIMMED": masked and whole, "CAPPED": codec == 1, "WHOLE": whole, "CODEC": codec}
            codes = {"FIELDS": 10, "CODE_BYTES": 14, "BLOCK_KEYS": blocks.keys, "BLOCK_BRACKET": 16}
            absent = ([] if masked else ["mask"]) + (["tops", "norms", "totals", "remembered"] if whole else [])
            absent += [] if codec == 2 else ["table", "table_fields", "key_sets", "value_sets"]
            strides = dict.fromkeys(("query_dim", "key_dim", "value_dim", "slot_key_dim", "slot_value_dim", "most", "bracket"), 1)
            constants = {**sizes, **modes, **codes, **strides, **dict.fromkeys(absent)}
            ptx = compiled(attend, constants, slots, blocks.warps, blocks.stages)
            assert ("wgmma" if blocks.rows >= 64 else "mma.sync") in ptx, "the products do not use the tensor cores"
            if not whole:
                compiled(merge, sizes, slots, blocks.warps, blocks.stages)


if __name__ == "__main__":
    main()
