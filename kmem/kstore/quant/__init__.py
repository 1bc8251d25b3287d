"""How a memory's floats become a record on disk. One file a family, one line here a name.

Law: two classes may share a name only if each can decode what the other encoded.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from kmem.errors import UnknownNameError
from kmem.kstore.quant.int8 import Int8
from kmem.kstore.quant.plain import Plain
from kmem.kstore.quant.protocol import Quantiser
from kmem.kstore.quant.vq import Vq

QUANTISERS: dict[str, type[Quantiser]] = {
    "fp32": Plain,
    "fp16": Plain,
    "bf16": Plain,
    "int8": Int8,
    "vq": Vq,
}


def quantiser(name: str) -> Quantiser:
    """The quantiser of this name with its default configuration. Raises UnknownNameError, and UntrainedQuantiserError for `vq`."""
    return load_quantiser({"name": name}, {})


def load_quantiser(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Quantiser:
    """The quantiser of a `to_dict()`, as the manifest keeps it, and of its `tensors()`. Raises UnknownNameError."""
    name = str(config.get("name"))
    if name not in QUANTISERS:
        raise UnknownNameError("quantiser", name, list(QUANTISERS))
    return QUANTISERS[name].from_dict(config, tensors)


def record_bytes(codec: Quantiser, slots: int, head_dim: int) -> int:
    """Bytes of one memory of S slots on disk, its checksum left out."""
    return math.prod(codec.record_shape(slots, head_dim)) * codec.record_dtype().itemsize


__all__ = ["QUANTISERS", "Int8", "Plain", "Quantiser", "Vq", "load_quantiser", "quantiser", "record_bytes"]
