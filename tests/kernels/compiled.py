"""Compile the kernels for an H100 on a machine without one: `TRITON_INTERPRET=0 python -m tests.kernels.compiled`."""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kmem.kernels.attention_columns.triton import BLOCK_KEYS, ROWS, columns, row_sums
from kmem.kernels.chunked_window.triton import attend_chunk
from kmem.kernels.chunked_window.triton import blocks_for as chunk_blocks
from kmem.kernels.memory_attention.triton import blocks_for
from kmem.kernels.memory_attention.triton_attend import attend
from kmem.kernels.memory_attention.triton_merge import merge
from kmem.kernels.ssd_scan.triton import CHUNK, WIDTH_STEP, add_up, carry, read_out

TARGET = GPUTarget("cuda", 90, 32)
POINTERS = {
    **dict.fromkeys(("query", "key", "value", "output", "bracket_key", "bracket_value"), "*bf16"),
    **dict.fromkeys(("mask", "filled"), "*u8"),
    **dict.fromkeys(("head_starts", "owned", "work", "table_fields", "key_sets", "value_sets"), "*i32"),
    **dict.fromkeys(("mass", "tops", "norms", "totals", "remembered"), "*fp32"),
    **{"resident": "*i64", "table": "*fp16", "scaling": "fp32", "softcap": "fp32"},
    **dict.fromkeys(("near_key", "near_value", "fading_key", "fading_value", "stored_key", "stored_value"), "*bf16"),
    **dict.fromkeys(("added", "state", "last", "before", "lse"), "*fp32"),
    "total": "*fp64",
}
SLOTS = ("*bf16", "*u8", "*u8")
"""Of PlainSlots, Int8Slots and VqSlots, by the codec's number."""


def compiled(kernel: Any, constants: dict[str, Any], own: dict[str, str], warps: int, stages: int) -> str:
    """The machine code's PTX; `own` types go before POINTERS."""
    types = POINTERS | own
    signature = {item.name: "constexpr" if item.name in constants else types.get(item.name, "i32") for item in kernel.params}
    source = ASTSource(kernel, signature, constants)
    ptx: str = triton.compile(source, target=TARGET, options={"num_warps": warps, "num_stages": stages}).asm["ptx"]
    return ptx


def main() -> None:
    """Raises where one of them does not compile."""
    memory_attention()
    ssd_scan()
    chunked_window()
    attention_columns()


def attention_columns() -> None:
    """SmolLM2's heads, spectra of 17 and sums; the products of queries and keys use the tensor cores."""
    shape = {"GROUP": 3, "DIM": 64, "BLOCK_DIM": 64, "BLOCK_ROWS": ROWS, "BLOCK_KEYS": BLOCK_KEYS}
    strides = {"query_dim": 1, "key_dim": 1, "position_number": 1}
    scalars = {"positions": "*i64", "basis": "*fp32", "output": "*fp32", "decay": "fp32"}
    for kind, capped in (("*bf16", False), ("*fp32", True)):
        types = scalars | {"query": kind, "key": kind}
        compiled(row_sums, shape | strides | {"CAPPED": capped}, types, 4, 2)
        for spectral, bins in ((True, 17), (False, 1)):
            more = {"CAPPED": capped, "SPECTRAL": spectral, "BINS": bins, "BLOCK_BINS": 32 if spectral else 16}
            ptx = compiled(columns, shape | strides | more, types, 4, 2)
            assert kind == "*fp32" or "mma" in ptx, "the products do not use the tensor cores"


def ssd_scan() -> None:
    """A model of 64 channels a head and 128 numbers a channel."""
    sizes = {"SHARED": 8, "DIM": 64, "WIDTH": 128, "BLOCK_TOKENS": CHUNK, "BLOCK_DIM": 64}
    strides = dict.fromkeys(("value_dim", "key_dim", "query_dim"), 1)
    value = {"value": "*fp32"}
    for kernel, width in ((add_up, 128), (read_out, WIDTH_STEP)):
        given = {"BLOCK_WIDTH": width} | {name: number for name, number in strides.items() if name in kernel.arg_names}
        assert "mma" in compiled(kernel, sizes | given, value, 8, 3), "the products do not use the tensor cores"
    for begins in (False, True):
        constants = {"BEGINS": begins, "SIZE": 64 * 128, "BLOCK_TOKENS": CHUNK, "BLOCK": 256} | ({} if begins else {"state": None})
        compiled(carry, constants, {}, 4, 3)


def chunked_window() -> None:
    """Chunks of 64 under a window of 128, both types, with everything beside it and with nothing."""
    strides = {f"{name}_dim": 1 for name in ("query", "near_key", "near_value", "fading_key", "fading_value", "stored_key", "stored_value")}
    for element_bytes, kind in ((2, "*bf16"), (4, "*fp32")):
        rows, keys, warps = chunk_blocks(64 * 4, 64, element_bytes)
        sizes = {"CHUNK": 64, "KEPT": 64, "WIDTH": 128, "GROUP": 4, "DIM": 64, "BLOCK_ROWS": rows, "BLOCK_KEYS": keys, "BLOCK_DIM": 64}
        states = {name.removesuffix("_dim"): kind for name in strides} | {"output": kind}
        for more in ({"FADING": 128, "STORES": True, "SLIDING": False}, {"FADING": 0, "STORES": False, "SLIDING": True}):
            ptx = compiled(attend_chunk, sizes | strides | {"filled_number": 1} | more, states, warps, 2)
            assert element_bytes == 4 or "mma" in ptx, "the products do not use the tensor cores"


def memory_attention() -> None:
    """Memory³-2B's shape, prefill and split decode, every codec, with a mask and without."""
    for codec, kind in enumerate(SLOTS):
        slots = {"slot_key": kind, "slot_value": kind}
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
