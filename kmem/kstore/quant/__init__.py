"""How a memory's floats become a record on disk. One file a family, one line here a name.

Law: two classes may share a name only if each can decode what the other encoded.
"""

from collections.abc import Mapping
from typing import Any

from kmem.errors import UnknownNameError
from kmem.kstore.quant.plain import Plain
from kmem.kstore.quant.protocol import Quantiser

QUANTISERS: dict[str, type[Quantiser]] = {
    "fp32": Plain,
    "fp16": Plain,
    "bf16": Plain,
}


def quantiser(name: str) -> Quantiser:
    """The quantiser of this name with its default configuration. Raises UnknownNameError."""
    return load_quantiser({"name": name})


def load_quantiser(config: Mapping[str, Any]) -> Quantiser:
    """The quantiser of a `to_dict()`, as the manifest keeps it. Raises UnknownNameError."""
    name = str(config.get("name"))
    if name not in QUANTISERS:
        raise UnknownNameError("quantiser", name, list(QUANTISERS))
    return QUANTISERS[name].from_dict(config)


__all__ = ["QUANTISERS", "Plain", "Quantiser", "load_quantiser", "quantiser"]
