"""The whole plan: Memory³'s cost model and hierarchy for one model, corpus and machine."""

from dataclasses import asdict, dataclass
from typing import Any

from kmem.arguments import require_count
from kmem.encoder.presets import MEMORY3_REFERENCES
from kmem.kbuild.dedup.config import FILE_BYTES, MEMORY_BYTES, TEXT_BYTES
from kmem.kstore.index.factory import require_fitting
from kmem.pipelines.config import BuildConfig
from kmem.plan.choice import HOMES, choice, require_uses
from kmem.plan.cost import Cost, read_overhead
from kmem.plan.hardware import TERA, Hardware
from kmem.plan.lengths import Lengths
from kmem.plan.shape import Shape
from kmem.plan.storage import bank_ledger, index, resident_share, tiers
from kmem.plan.texts import TextCost
from kmem.profile import Profile

USES = (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)
HOUR_S = 3600


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Of the corpus: `references`, and how often one is used (`uses`; each number a row). Of the bank: its quantiser, the numbers of
    the vectors that it is searched by, and its index as `kmem build --index` has it. Raises ConfigError for a count under 1, for uses that
    are no number from 0 on, and for an index that kmem doesn't build.
    """

    references: int = MEMORY3_REFERENCES
    uses: tuple[float, ...] = USES
    quantiser: str = BuildConfig().quantiser
    embedding_dim: int = 384
    index: str = BuildConfig().index

    def __post_init__(self) -> None:
        require_count(self.references, "references")
        require_count(self.embedding_dim, "embedding_dim")
        require_fitting(self.index, self.embedding_dim)
        for each in self.uses:
            require_uses(each)


def plan(
    shape: Shape,
    profile: Profile,
    lengths: Lengths,
    machine: Hardware,
    config: PlanConfig | None = None,
    texts: TextCost | None = None,
) -> dict[str, Any]:
    """What memories of that profile cost a model of that shape.

    `write_tflop`, `read_tflop`: 10¹² operations a reference (App. A). `break_even`: uses between which a memory is cheapest.
    `read_overhead`: share of a text's operations that its memory reads add. `ledger`: bytes of the bank as `bank_ledger` has them.
    `tiers`: bytes as `Tiers` has them, and `resident_share`, what of the bank fits into RAM beside the index. `index`: as `Index` has it.
    `build`: hours of writing all references, and what one process takes to look for copies among them, in RAM and in temporary files.
    `loading`: seconds of reading one memory from the disk, of encoding it anew and of reading
    its text, and `wins`, whether loading is the fastest. `uses`: TFLOP a reference in each place, and the `cheapest`.
    `texts`, where its cost was measured: core hours as `TextCost.hours` has them.
    Raises UnknownNameError for an unknown quantiser.
    """
    config = config or PlanConfig()
    costs = choice(shape, profile, lengths)
    kept = tiers(config.references, shape, profile, lengths, config.quantiser)
    searched = index(config.references, config.embedding_dim, config.index)
    return {
        "shape": asdict(shape),
        "profile": profile.name,
        "lengths": asdict(lengths),
        "hardware": asdict(machine),
        "write_tflop": {"parameters": costs.parameters.write / TERA, "memory": costs.memory.write / TERA},
        "read_tflop": {"memory": costs.memory.read / TERA, "text": costs.text.read / TERA},
        "break_even": {"low": costs.low, "high": costs.high},
        "read_overhead": read_overhead(shape, profile, lengths),
        "ledger": bank_ledger(config.references, shape, profile, lengths),
        "tiers": asdict(kept) | {"resident_share": resident_share(machine, searched, kept)},
        "index": asdict(searched),
        "build": {
            "parameters_h": config.references * machine.compute_s(costs.parameters.write) / HOUR_S,
            "memory_h": config.references * machine.compute_s(costs.memory.write) / HOUR_S,
            "dedup_ram_bytes": MEMORY_BYTES + config.references * TEXT_BYTES,
            "dedup_file_bytes": config.references * FILE_BYTES,
        },
        "loading": loading(costs.memory, costs.text, machine, kept.record_bytes),
        "uses": [
            {"uses": uses, **{home: costs.cost(home).total(uses) / TERA for home in HOMES}, "cheapest": costs.cheapest(uses)}
            for uses in config.uses
        ],
        **({} if texts is None else {"texts": texts.hours(config.references)}),
    }


def loading(memory: Cost, text: Cost, machine: Hardware, record_bytes: int) -> dict[str, float | bool]:
    """Whether reading a memory from the disk beats computing it: seconds of either, and of reading the text instead."""
    load, encode, prefill = machine.load_s(record_bytes), machine.compute_s(memory.write), machine.compute_s(text.read)
    return {"load_s": load, "encode_s": encode, "text_s": prefill, "encode_over_load": encode / load, "wins": load < min(encode, prefill)}
