"""Where the bytes are: the bank on disk by quantiser, what a text needs in RAM and on the device, and the search index.

The sizes are those of the code that writes banks, which needs torch: it is imported when asked.
"""

from dataclasses import dataclass, replace

from kmem.kstore.index.factory import AUTO, chosen, parse_factory
from kmem.plan.hardware import GIGA, Hardware
from kmem.plan.lengths import Lengths
from kmem.plan.shape import Shape
from kmem.profile import Profile

ID_BYTES, FLOAT_BYTES, LINK_BYTES = 8, 4, 4
NODE_NUMBERS = 3
"""What a graph keeps of each node besides its links: its level, and where they begin (8 bytes)."""


def bank_ledger(references: int, shape: Shape, profile: Profile, lengths: Lengths) -> dict[str, float]:
    """Bytes of a bank (Memory³ §3.3 and App. B): `dense_bytes`, every token of all layers' query heads in bfloat16; `sparse_bytes`, those
    the profile keeps; `vq_bytes`, these quantised. `sparse_ratio`, `vq_ratio` and their product `total_ratio` are how much smaller.
    """
    from kmem.bench.compression.ledger import sizes

    dense = replace(profile, name="dense", budget=((lengths.reference,) * shape.query_heads,) * shape.layers, provenance={})
    return sizes(references, dense=dense, sparse=profile, head_dim=shape.head_dim)


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """Bytes of a memory, `record`, and of the tiers that it passes (Memory³ §3.5), in a bank of that quantiser.

    disk: all memories. ram: what all retrievals of one text read, as stored, were no two the same. device: what its prompt's chunks read
    in one forward pass, decoded to bfloat16.
    """

    quantiser: str
    record_bytes: int
    disk_bytes: int
    ram_bytes: int
    device_bytes: int


@dataclass(frozen=True, kw_only=True)
class Index:
    """A search index: FAISS's factory string, numbers of a vector, bytes in RAM. waits_for: what was asked for, where it takes more rows
    to be trained than there are.
    """

    factory: str
    dim: int
    ram_bytes: int
    waits_for: str = ""


def tiers(references: int, shape: Shape, profile: Profile, lengths: Lengths, quantiser: str) -> Tiers:
    """The tiers of a bank of so many references and for one text. Raises UnknownNameError for an unknown quantiser."""
    from kmem.bench.compression.ledger import codec
    from kmem.kstore.quant import record_bytes

    record = record_bytes(codec(quantiser, profile.slots, shape.head_dim), profile.slots, shape.head_dim)
    decoded = record_bytes(codec("bf16", profile.slots, shape.head_dim), profile.slots, shape.head_dim)
    return Tiers(
        quantiser=quantiser,
        record_bytes=record,
        disk_bytes=references * record,
        ram_bytes=lengths.retrievals * lengths.top_k * record,
        device_bytes=lengths.prompt_chunks * lengths.top_k * decoded,
    )


def index(references: int, dim: int, asked: str = AUTO) -> Index:
    """The index that a bank of so many vectors of `dim` numbers gets, by their number or as a factory string says.

    Bytes of vectors (or their codes), ids, lists' centroids, code words and a graph's links. Vectors beside codes stay on the disk.
    Raises ConfigError for a string that kmem doesn't build.
    """
    kind = chosen(asked, rows=references, dim=dim)
    row = ID_BYTES + (-(-kind.parts * kind.bits // 8) if kind.parts else dim * FLOAT_BYTES)
    graph = 2 * kind.links + kind.links / (kind.links - 1) + NODE_NUMBERS if kind.links else 0
    shared = (kind.lists + (1 << kind.bits if kind.parts else 0)) * dim * FLOAT_BYTES
    return Index(
        factory=str(kind),
        dim=dim,
        ram_bytes=references * row + round(references * graph * LINK_BYTES) + shared,
        waits_for="" if asked == AUTO or parse_factory(asked).kind == kind.kind else asked,
    )


def resident_share(machine: Hardware, searched: Index, kept: Tiers) -> float:
    """The share of the bank that the RAM holds beside the index, 0 to 1."""
    return min(1.0, max(0.0, machine.ram_gb * GIGA - searched.ram_bytes) / kept.disk_bytes)
